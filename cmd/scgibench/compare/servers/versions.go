package servers

import (
	"context"
	"os/exec"
	"slices"
)

// Versions are those of the programs that Packages names, of Python and of
// scgid, by name, as far as they are there.
func (k *Kit) Versions(ctx context.Context) map[string]string {
	all := map[string]string{}
	packages := append(Packages(), "php8.2-fpm", "php8.4-fpm")
	for _, p := range slices.Compact(slices.Sorted(slices.Values(packages))) {
		out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", p).Output()
		if err == nil && len(out) > 0 && p != "libc6-dev" && p != "python3-dev" && p != "php-fpm" {
			all[p] = string(out)
		}
	}
	if out, err := exec.CommandContext(ctx, k.bin("scgid"), "--version").Output(); err == nil {
		all["scgid"] = lastLine(out)
	}
	if err, built := k.built["scgi"]; built && err == nil {
		all["scgi"] = scgiVersion(ctx, k.opts.Scgi)
	}
	return all
}

func scgiVersion(ctx context.Context, dir string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return dir
	}
	return "commit " + lastLine(out)
}
