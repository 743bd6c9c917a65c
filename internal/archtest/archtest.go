// Package archtest keeps the floors of the house: who may import whom. It parses the files itself, because a test that starts
// "go list" is cached by what that test reads, which is nothing.
package archtest

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the path of the module whose files are checked.
const module = "github.com/forst-go/forst"

// floors is the table. A package imports only from lower rows: not from its own, and not from higher ones. Files of tests may
// import any floor. Entries are patterns of path.Match, relative to the module; "." is the root package.
var floors = [][]string{
	{"forstfs/driver", "internal/mutant", "internal/bytesize", "internal/ghost"},
	{"forstfs/mem", "forstfs/local", "forstfs/s3", "forstfs/hdfs", "forstfs/fault", "forstfs/hedge", "internal/meter", "cache/disk", "internal/localdisk"},
	{"cache", "internal/localdisk/*"},
	{"internal/namespace", "internal/journal", "internal/probe"},
	{"forstfs"},
	{"engineadapter/internal/enginefs"},
	{"engineadapter/*"},
	{"state", "forstprom", "move"},
	{"state/*"},
	{".", "conformance", "internal/testenv"},
	{"internal/automount"},
	{"engineadapter/automount/*"},
	{"cmd/*", "bench", "examples/*", "internal/testenv/cmd/*", "internal/archtest", "engineadapter/internal/enginetest"},
}

// room says where a third-party module may be imported, in shipped files and in files of tests.
type room struct {
	prefix  string
	shipped []string
	tests   []string // in addition to shipped
}

// rooms lists every module that may be imported at all: a dependency is a decision, and this is where it is written down.
var rooms = []room{
	{prefix: "github.com/aws/", shipped: []string{"forstfs/s3", "internal/testenv"}},
	{prefix: "github.com/colinmarc/hdfs", shipped: []string{"forstfs/hdfs"}, tests: []string{"bench"}},
	{prefix: "github.com/cockroachdb/", shipped: []string{"engineadapter/*", "engineadapter/automount/*", "engineadapter/internal/enginetest", "state", "state/stateprom", "bench", "cmd/*", "examples/*"}, tests: []string{"move", "conformance", "."}},
	{prefix: "github.com/jcmturner/", shipped: []string{"forstfs/hdfs"}},                          // Kerberos
	{prefix: "google.golang.org/protobuf", shipped: []string{"forstfs/hdfs", "state/protostate"}}, // the messages of Hadoop's protocols
	{prefix: "github.com/syndtr/goleveldb", shipped: []string{"engineadapter/*", "bench", "examples/*"}, tests: []string{"move", "conformance"}},
	{prefix: "github.com/hashicorp/golang-lru", shipped: []string{"cache", "forstfs"}},
	{prefix: "github.com/prometheus/client_golang", shipped: []string{"forstprom", "state/stateprom"}},
	{prefix: "github.com/klauspost/compress", shipped: []string{"internal/journal"}},
	{prefix: "github.com/spf13/", shipped: []string{"cmd/*"}},
	{prefix: "golang.org/x/exp/rand", tests: []string{"engineadapter/pebblev1"}}, // Pebble v1 asks its tests for it
	{prefix: "golang.org/x/", shipped: []string{"cache", "cache/*", "forstfs", "forstfs/*", "cmd/*", "internal/*"}},
	{prefix: "pgregory.net/rapid", shipped: []string{"conformance"}, tests: []string{"*", "*/*", "*/*/*"}},
}

// standardOnly packages import nothing but the standard library in shipped files.
var standardOnly = []string{"forstfs/driver", "internal/mutant"}

// mayImportTesting are the packages that serve tests.
var mayImportTesting = []string{"conformance", "internal/testenv", "engineadapter/internal/enginetest"}

// longFile is the length in lines that a file should keep under.
const longFile = 500

// Report is what Check found.
type Report struct {
	Packages int
	Broken   []string // broken rules, sorted
	Long     []string // files over longFile lines: told, not refused
}

// Check parses all Go files below fsys, the root of the module, whatever their build tags. Folders with a go.mod of their own,
// testdata, and names that begin with "." or "_" are none of the module's.
func Check(fsys fs.FS) (Report, error) {
	c := &checker{imports: map[string]map[string]bool{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == "." {
				return nil
			}
			base := path.Base(name)
			if base == "testdata" || base[0] == '.' || base[0] == '_' {
				return fs.SkipDir
			}
			if _, err := fs.Stat(fsys, path.Join(name, "go.mod")); err == nil {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		return c.file(name, src)
	})
	if err != nil {
		return Report{}, err
	}
	r := Report{Packages: len(c.imports), Broken: slices.Sorted(maps.Keys(c.broken)), Long: c.long}
	return r, nil
}

type checker struct {
	imports map[string]map[string]bool // seen packages
	broken  map[string]bool
	long    []string
}

func (c *checker) breakf(format string, args ...any) {
	if c.broken == nil {
		c.broken = map[string]bool{}
	}
	c.broken[fmt.Sprintf(format, args...)] = true
}

func (c *checker) file(name string, src []byte) error {
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		return err
	}
	pkg, test := path.Dir(name), strings.HasSuffix(name, "_test.go")
	if lines := bytes.Count(src, []byte("\n")); lines > longFile {
		c.long = append(c.long, fmt.Sprintf("%s has %d lines", name, lines))
	}
	c.imports[pkg] = map[string]bool{}
	if floorOf(pkg) < 0 {
		c.breakf("%s is in no row of the table of floors: add it in internal/archtest", pkg)
		return nil
	}
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		c.check(name, pkg, imp, test)
	}
	return nil
}

func (c *checker) check(name, pkg, imp string, test bool) {
	switch {
	case imp == module || strings.HasPrefix(imp, module+"/"):
		target := strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")
		if target == "" {
			target = "."
		}
		if !test && floorOf(target) >= floorOf(pkg) {
			c.breakf("%s imports %s, which is not on a lower floor", name, target)
		}
	case !strings.Contains(strings.Split(imp, "/")[0], "."): // standard library
		if !test && (imp == "testing" || strings.HasPrefix(imp, "testing/")) && !matches(mayImportTesting, pkg) {
			c.breakf("%s imports %s: shipped code never does", name, imp)
		}
		return
	case !test && matches(standardOnly, pkg):
		c.breakf("%s imports %s: %s rests on the standard library only", name, imp, pkg)
	default:
		c.thirdParty(name, pkg, imp, test)
	}
}

func (c *checker) thirdParty(name, pkg, imp string, test bool) {
	for _, r := range rooms {
		if !strings.HasPrefix(imp, r.prefix) {
			continue
		}
		if !matches(r.shipped, pkg) && !(test && matches(r.tests, pkg)) {
			c.breakf("%s imports %s outside of its room (%s)", name, imp, strings.Join(r.shipped, ", "))
		}
		return
	}
	c.breakf("%s imports %s, which is in no row of the table of rooms: add it in internal/archtest if it is worth a dependency", name, imp)
}

// floorOf is the row of a package, or -1.
func floorOf(pkg string) int {
	return slices.IndexFunc(floors, func(row []string) bool { return matches(row, pkg) })
}

func matches(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, pkg)
		return err == nil && ok
	})
}
