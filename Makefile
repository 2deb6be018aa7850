# Everything a builder, tester or packager types. The commands work the same
# from a checkout and from a release.

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

bindir  = $(PREFIX)/bin
sbindir = $(PREFIX)/sbin
libdir  = $(PREFIX)/lib/scgid
datadir = $(PREFIX)/share
mandir  = $(datadir)/man

# The bus and polkit look for policy here, and not below /usr/local.
ifeq ($(PREFIX),/usr/local)
dbusdir   = /etc/dbus-1/system.d
polkitdir = /usr/share/polkit-1/actions
else
dbusdir   = $(datadir)/dbus-1/system.d
polkitdir = $(datadir)/polkit-1/actions
endif

# systemd reads these of /usr and of /usr/local.
unitdir     = $(PREFIX)/lib/systemd/system
userunitdir = $(PREFIX)/lib/systemd/user
sysusersdir = $(PREFIX)/lib/sysusers.d
tmpfilesdir = $(PREFIX)/lib/tmpfiles.d
examplesdir = $(datadir)/doc/scgid/examples

sharedirs = bash-completion/completions zsh/site-functions fish/vendor_completions.d

GOFLAGS_BUILD = -trimpath -ldflags '-X main.version=$(VERSION)'
STATICCHECK   = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME     ?= 10s

.PHONY: build built demo check deps lint test check-debian13 fuzz bench bench-short bench-build install install-units clean

build: ## programs into bin/
	$(GO) build $(GOFLAGS_BUILD) -o bin/ ./cmd/scgid ./cmd/scgictl ./cmd/scgi-cgi ./cmd/scgibench
	install -m 755 worker/python/scgi_wsgi.py bin/scgi-wsgi

demo: build ## an example application on http://127.0.0.1:8080/
	cd worker/python && exec ../../bin/scgid run --name demo --listen @scgid-demo --http 127.0.0.1:8080 \
		--set Pool.MinWorkers=2 -- scgi-wsgi demo:application

check: deps lint test fuzz ## all tests, after installing what they need

deps: ## what the tests need, on Debian as root; elsewhere it says what is missing
	.ci/deps

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go'))" || { gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

test:
	$(GO) test -race -vet=off -timeout 40m ./... # lint has vetted

check-debian13: ## the tests that boot systemd, on a Debian 13 root made by debootstrap
	.ci/debian13

fuzz: ## short; FUZZTIME=5m for long runs
	FUZZTIME=$(FUZZTIME) .ci/fuzz

# As root on Debian what is missing is installed; otherwise it is named.
bench_install = $(if $(and $(filter 0,$(shell id -u)),$(shell command -v apt-get)),--install)

bench: bench-build ## speed beside uWSGI, gunicorn, fcgiwrap and others, half an hour; SCGI_PACKAGE=a checkout of the scgi package
	bin/scgibench compare $(bench_install) --svg bin/bench $(BENCHFLAGS)

bench-short: bench-build ## the same in under three minutes; BENCHFLAGS='--apps hello' for a part
	bin/scgibench compare --short $(bench_install) $(BENCHFLAGS)

bench-build: build
	$(GO) build $(GOFLAGS_BUILD) -o bin/ ./cmd/scgibench/goworker

# sudo's PATH has no go where that is in /usr/local/go: then what is built is taken.
built:
	@if command -v $(GO) >/dev/null || ! test -x bin/scgid; then $(MAKE) --no-print-directory build; fi

# scgid belongs to root and cannot be read, only executed: then the kernel keeps
# its process from being dumped or traced from execve(2) on, and an application,
# which runs as the same user, has no moment in which it could open the master's
# memory or descriptors. Packages should keep this mode.
install: built install-units ## everything; DESTDIR for packages
	install -d $(DESTDIR)$(sbindir) $(DESTDIR)$(bindir) $(DESTDIR)$(libdir) \
		$(addprefix $(DESTDIR)$(datadir)/,$(sharedirs))
	install -m 711 bin/scgid $(DESTDIR)$(sbindir)/
	install -m 755 bin/scgictl bin/scgibench $(DESTDIR)$(bindir)/
	install -m 755 bin/scgi-wsgi bin/scgi-cgi $(DESTDIR)$(libdir)/
	for n in 1 5 7 8; do install -d $(DESTDIR)$(mandir)/man$$n && \
		install -m 644 packaging/man/*.$$n $(DESTDIR)$(mandir)/man$$n/ || exit; done
	bin/scgictl completion bash >$(DESTDIR)$(datadir)/bash-completion/completions/scgictl
	bin/scgictl completion zsh >$(DESTDIR)$(datadir)/zsh/site-functions/_scgictl
	bin/scgictl completion fish >$(DESTDIR)$(datadir)/fish/vendor_completions.d/scgictl.fish

# Commands in units are absolute paths.
atprefix = sed -e '/^Exec/s,/usr/sbin/,$(sbindir)/,' -e '/^Exec/s,/usr/bin/,$(bindir)/,'

install-units: ## what systemd, the bus and polkit read
	install -d $(DESTDIR)$(unitdir) $(DESTDIR)$(userunitdir) $(DESTDIR)$(sysusersdir) $(DESTDIR)$(tmpfilesdir) \
		$(DESTDIR)$(examplesdir) $(DESTDIR)$(dbusdir) $(DESTDIR)$(polkitdir) $(DESTDIR)/etc/scgid
	for u in scgid@.service scgid@.socket scgid.target; do \
		$(atprefix) units/$$u >$(DESTDIR)$(unitdir)/$$u && chmod 644 $(DESTDIR)$(unitdir)/$$u || exit; done
	for u in scgid@.service scgid@.socket; do \
		$(atprefix) units/user/$$u >$(DESTDIR)$(userunitdir)/$$u && chmod 644 $(DESTDIR)$(userunitdir)/$$u || exit; done
	install -m 644 units/scgid.sysusers $(DESTDIR)$(sysusersdir)/scgid.conf
	install -m 644 units/scgid.tmpfiles $(DESTDIR)$(tmpfilesdir)/scgid.conf
	install -m 644 units/examples/*.conf $(DESTDIR)$(examplesdir)/
	install -m 644 units/org.scgid1.conf $(DESTDIR)$(dbusdir)/
	install -m 644 units/org.scgid1.policy $(DESTDIR)$(polkitdir)/

clean:
	rm -rf bin
