package forst

import (
	"net/url"

	"github.com/forst-go/forst/forstfs"
)

// process is what all volumes opened by URL share: one cache and one budget for the process, however many volumes it has.
var process forstfs.Shared

// named gives the volume the URL as its name, without parameters and secrets, if it has none, the way to the volumes that it borrows from,
// and the process's caches and budgets.
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
	if d.OpenStore == nil {
		d.OpenStore = Lenders(raw)
	}
	if d.Shared == nil {
		d.Shared = &process
	}
	return &d
}

// readOnly asks a store that locks its directory for one user not to do so.
func readOnly(raw string) string { return withMode(raw, "ro") }

// withMode says how a local directory is opened; other stores know no modes.
func withMode(raw, mode string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "file" {
		return raw
	}
	q := u.Query()
	q.Del("create")
	q.Del("guard")
	q.Set("mode", mode)
	u.RawQuery = q.Encode()
	return u.String()
}
