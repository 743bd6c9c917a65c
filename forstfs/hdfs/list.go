package hdfs

import (
	"context"
	"iter"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/forst-go/forst/forstfs/driver"
)

// List implements driver.Store: one call to the NameNode for each directory and each thousand entries of it. Names that begin with a dot
// and names that no key can have are no objects.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		c := call{op: "list", key: prefix}
		for _, p := range []string{prefix, after} {
			if err := driver.CheckPrefix(p); err != nil {
				yield(driver.Info{}, s.fail(c, driver.KindInvalid, err))
				return
			}
		}
		r, err := s.begin(ctx, c)
		if err != nil {
			yield(driver.Info{}, err)
			return
		}
		defer r.end()
		r.leave() // Close does not wait while the caller's loop body runs, which may close the store
		w := &walker{r: r, prefix: prefix, after: after, yield: yield}
		w.walk("")
		if w.err != nil && !w.over {
			yield(driver.Info{}, r.fail(w.err))
		}
	}
}

type walker struct {
	r             *running
	prefix, after string
	yield         func(driver.Info, error) bool
	over          bool // the caller has enough
	err           error
}

// entry is what is in a directory.
type entry struct {
	name   string
	dir    bool
	status protoreflect.Message
}

// walk lists what is below dir, a key's beginning that is empty or ends in "/". The NameNode gives names in byte order, and the order of
// keys differs from it only for a directory and names that go on with a byte below "/" after the directory's name: "m" comes before
// "m-1", and "m/1" behind it. So a directory waits on a stack until a greater name comes.
func (w *walker) walk(dir string) {
	var waiting []string // keys of directories, the least on top
	pop := func(until string) {
		for len(waiting) > 0 && (until == "" || waiting[len(waiting)-1] < until) && !w.ended() {
			next := waiting[len(waiting)-1]
			waiting = waiting[:len(waiting)-1]
			w.walk(next)
		}
	}
	for e := range w.names(w.r.s.cfg.Root+strings.TrimSuffix("/"+dir, "/"), w.start(dir)) {
		key := dir + e.name
		if e.dir {
			key += "/"
		}
		pop(key)
		if w.ended() {
			return
		}
		switch {
		case !e.dir && driver.CheckKey(key) != nil:
		case e.dir:
			if strings.HasPrefix(key, w.prefix) || strings.HasPrefix(w.prefix, key) {
				if key > w.after || strings.HasPrefix(w.after, key) {
					waiting = append(waiting, key)
				}
			} else if key > w.prefix && e.name > w.segment(dir, w.prefix) {
				pop("")
				return
			}
		case strings.HasPrefix(key, w.prefix):
			if key > w.after {
				w.over = !w.yield(infoOf(key, e.status), nil)
			}
		case key > w.prefix:
			pop("")
			return
		}
		if w.ended() {
			return
		}
	}
	pop("")
}

func (w *walker) ended() bool { return w.over || w.err != nil }

// segment is the name in dir that a key would have, or "" if it is not below dir.
func (w *walker) segment(dir, key string) string {
	rest, ok := strings.CutPrefix(key, dir)
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// start is a name below all names in dir that matter: those from the prefix and from after on.
func (w *walker) start(dir string) string {
	return max(below(w.segment(dir, w.prefix)), below(w.segment(dir, w.after)))
}

// below gives a name that is less than name and than every directory whose keys may follow on name, and greater than most that do not.
func below(name string) string {
	if i := strings.IndexFunc(name, func(c rune) bool { return c < '/' }); i >= 0 {
		name = name[:i]
	}
	if name == "" {
		return ""
	}
	n := len(name) - 1
	return name[:n] + string(name[n]-1) + "\x7f"
}

// names gives the entries of a directory in byte order, from those greater than after on. A directory that does not exist is empty. It
// ends at the first error, which is in w.err.
func (w *walker) names(path, after string) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for {
			resp, err := w.page(path, after)
			if isClass(err, exNotFound, exParentNotDir) || err == nil && !has(resp, "dirList") {
				return
			}
			if err != nil {
				w.err = err
				return
			}
			list := get(resp, "dirList").Message()
			page := messages(list, "partialListing")
			for _, status := range page {
				name := string(get(status, "path").Bytes())
				if name == "" { // path is a file
					return
				}
				after = name
				if name[0] == '.' {
					continue
				}
				if !yield(entry{name: name, dir: fileType(status) == isDir, status: status}) {
					return
				}
			}
			if len(page) == 0 || get(list, "remainingEntries").Uint() == 0 {
				return
			}
		}
	}
}

func (w *walker) page(path, after string) (protoreflect.Message, error) {
	r := w.r
	if r.ctx.Err() != nil {
		return nil, r.ctx.Err()
	}
	page := *r
	if r.s != nil && w.yield != nil { // a page is a call of its own, for Close and for its deadline
		p, err := r.s.begin(r.ctx, r.call)
		if err != nil {
			return nil, err
		}
		defer p.end()
		page = *p
	}
	return page.ask("getListing", message("GetListingRequestProto", fields{"src": path, "startAfter": []byte(after), "needLocation": false}), "GetListingResponseProto")
}
