package forst

import (
	"net/url"

	"github.com/forst-go/forst/forstfs"
)

// named gives the volume the URL as its name, without parameters and secrets, if it has none.
func named(o *forstfs.Options, raw string) *forstfs.Options {
	var d forstfs.Options
	if o != nil {
		d = *o
	}
	if d.Name == "" {
		if u, err := url.Parse(raw); err == nil {
			u.RawQuery, u.User, u.Fragment = "", nil, ""
			d.Name = u.String()
		}
	}
	return &d
}

// readOnly asks a store that locks its directory for one user not to do so.
func readOnly(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "file" {
		return raw
	}
	q := u.Query()
	q.Set("mode", "ro")
	u.RawQuery = q.Encode()
	return u.String()
}
