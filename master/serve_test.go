package master

import (
	"strings"
	"testing"

	"github.com/scgid/scgid/control"
)

func TestARequestIsAnsweredByAWorker(t *testing.T) {
	checkFDs(t)
	r := begin(t, "plain", oneWorker)
	if got := r.get("/worker"); got != "1" {
		t.Errorf("answered by worker %q", got)
	}
	<-r.notes.ready
	r.until("closed", func(s control.Status, c Counters) bool { return c.Served == 1 && s.Workers.Idle == 1 })
	r.Finish()
	if err := r.end(); err != nil {
		t.Error(err)
	}
	said := strings.Join(r.notes.all(), "|")
	if !strings.Contains(said, "READY") || !strings.HasSuffix(strings.Split(said, "STOPPING")[0], "|") {
		t.Errorf("the service manager heard %q", said)
	}
}
