package config

// ListenOn puts addrs, where scgid run listens, in the place of Listen=. given
// says that its command line names them; otherwise they are its default, or
// those of Listen= in their full form.
func (c *Config) ListenOn(addrs []string, given bool) {
	const key = "Pool.Listen"
	c.Pool.Listen = addrs
	if !given {
		return
	}
	c.origins[key] = nil
	for range addrs {
		c.origins[key] = append(c.origins[key], originCommand)
	}
}
