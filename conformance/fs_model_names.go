package conformance

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/forst-go/forst/forstfs"
)

// The steps of the comparison that change names.

func (c *comparison) nameStep() {
	switch rapid.IntRange(0, 6).Draw(c.t, "operation") {
	case 0:
		c.mkdirStep(rapid.SampledFrom(modelDirs).Draw(c.t, "dir"))
	case 1:
		c.linkStep(c.any("from"), c.path("to"))
	case 2, 3:
		c.renameStep(c.any("from"), c.any("to"))
	case 4:
		c.removeStep(c.any("path"))
	case 5:
		p := rapid.SampledFrom(modelDirs).Draw(c.t, "path")
		c.agree("removeall "+p, c.v.RemoveAll(c.ctx, p), nil)
		c.drop(p)
	case 6:
		c.reuseStep(c.path("from"), c.path("to"))
	}
}

func (c *comparison) mkdirStep(p string) {
	var want error
	for d := p; d != "/"; d = path.Dir(d) {
		if c.names[d] != nil {
			want = forstfs.ErrNotDir
		}
	}
	if c.names[p] != nil {
		want = fs.ErrExist
	}
	if c.agree("mkdir "+p, c.v.MkdirAll(c.ctx, p), want) {
		for d := p; d != "/"; d = path.Dir(d) {
			c.dirs[d] = true
		}
	}
}

func (c *comparison) linkStep(from, to string) {
	want := c.parent(from)
	switch {
	case want != nil:
	case c.dirs[from]:
		want = forstfs.ErrIsDir
	case c.names[from] == nil:
		want = fs.ErrNotExist
	default:
		if want = c.parent(to); want == nil && (c.names[to] != nil || c.dirs[to]) {
			want = fs.ErrExist
		}
	}
	settled(c.names[from])
	if c.agree("link "+from+" "+to, c.v.Link(c.ctx, from, to), want) {
		c.names[to] = c.names[from]
	}
}

func (c *comparison) renameStep(from, to string) {
	want := c.parent(from)
	file, isDir := c.names[from], c.dirs[from]
	nothing := false
	switch {
	case want != nil:
	case file == nil && !isDir:
		want = fs.ErrNotExist
	case isDir && strings.HasPrefix(to, from+"/"):
		want = fs.ErrInvalid
	default:
		want = c.parent(to)
		switch {
		case want != nil:
		case from == to || file != nil && c.names[to] == file:
			nothing = true
		case isDir && c.dirs[to]:
			want = fs.ErrExist
		case isDir && c.names[to] != nil:
			want = forstfs.ErrNotDir
		case !isDir && c.dirs[to]:
			want = forstfs.ErrIsDir
		}
	}
	settled(file)
	if !c.agree("rename "+from+" "+to, c.v.Rename(c.ctx, from, to), want) || nothing {
		return
	}
	if file != nil {
		delete(c.names, from)
		c.names[to] = file
		return
	}
	for _, p := range slices.Collect(maps.Keys(c.names)) {
		if strings.HasPrefix(p, from+"/") {
			c.names[to+p[len(from):]] = c.names[p]
			delete(c.names, p)
		}
	}
	for _, d := range slices.Collect(maps.Keys(c.dirs)) {
		if d == from || strings.HasPrefix(d, from+"/") {
			delete(c.dirs, d)
			c.dirs[to+d[len(from):]] = true
		}
	}
}

func (c *comparison) removeStep(p string) {
	want := c.parent(p)
	switch {
	case want != nil:
	case c.dirs[p] && len(c.children(p)) > 0:
		want = forstfs.ErrNotEmpty
	case !c.dirs[p] && c.names[p] == nil:
		want = fs.ErrNotExist
	}
	if c.agree("remove "+p, c.v.Remove(c.ctx, p), want) {
		c.drop(p)
	}
}

func (c *comparison) drop(p string) {
	below := func(q string) bool { return q == p || strings.HasPrefix(q, p+"/") }
	maps.DeleteFunc(c.names, func(q string, _ *modelFile) bool { return below(q) })
	maps.DeleteFunc(c.dirs, func(q string, _ bool) bool { return below(q) })
}

func (c *comparison) reuseStep(from, to string) {
	var want error
	switch {
	case c.names[from] == nil && !c.dirs[from]:
		want = fs.ErrNotExist
	case c.dirs[from]:
		want = forstfs.ErrIsDir
	case c.dirs[to]:
		want = forstfs.ErrIsDir
	default:
		if want = c.parent(to); want == nil && strings.HasPrefix(to, from+"/") {
			want = fs.ErrNotExist
		}
	}
	f, err := c.v.ReuseForWrite(c.ctx, from, to, nil)
	if !c.agree("reuse "+from+" "+to, err, want) {
		return
	}
	delete(c.names, from)
	c.adopt(f, to)
}
