package api

import (
	"time"

	"github.com/scgid/scgid/control"
)

var scraping = &control.Verb{Name: "metrics", Level: control.LevelRead, Doing: "read the metrics"}

// serveMetrics answers with Options.Metrics, to those who may read and to a few
// at a time.
func (s *Server) serveMetrics(c *call) error {
	if err := c.allow(control.LevelRead, scraping); err != nil {
		return err
	}
	select {
	case s.scrapes <- struct{}{}:
		defer func() { <-s.scrapes }()
	case <-c.r.Context().Done():
		return c.r.Context().Err()
	}
	_ = c.out.SetWriteDeadline(time.Now().Add(writeTime))
	c.w.Header().Set("Cache-Control", "no-store")
	s.metrics.ServeHTTP(c.w, c.r)
	return nil
}
