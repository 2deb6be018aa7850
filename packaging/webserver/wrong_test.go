package webserver_test

import "testing"

// A web server that is set up wrongly: the log of the pool says what to change.
func TestAWrongDirectiveIsNamed(t *testing.T) {
	needModule(t, "flask")
	p := startPool(t, place(t), "wrong", nil, python(t), "scgi-wsgi", "flask_app:application")
	const include, pass = "include snippets/scgid.conf;\n", "scgi_pass unix:" + exampleSock
	for _, tt := range []struct {
		name, says string
		swaps      []swap
	}{
		{"no parameters", `is "include scgi_params;" missing`, []swap{{include, "\n"}, {exampleSock, p.sock}}},
		{"proxy_pass", "is proxy_pass in the web server's configuration", []swap{{pass, "proxy_pass http://unix:" + p.sock}}},
		{"fastcgi_pass", "is fastcgi_pass in the web server's configuration", []swap{{pass, "fastcgi_pass unix:" + p.sock}}},
		{"uwsgi_pass", "is uwsgi_pass in the web server's configuration", []swap{{include, "include /etc/nginx/uwsgi_params;\n"}, {pass, "uwsgi_pass unix:" + p.sock}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &site{t: t, client: newClient(t), front: nginxWith(t, tt.swaps...), pool: p}
			if r := s.get("/env"); r.StatusCode < 400 {
				t.Errorf("got %d %.200q", r.StatusCode, r.text)
			}
			if !p.await(tt.says, 1) {
				t.Errorf("the log does not say %q:\n%s", tt.says, p.log)
			}
		})
	}
}
