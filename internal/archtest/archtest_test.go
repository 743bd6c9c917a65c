package archtest

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestFloors checks this module.
func TestFloors(t *testing.T) {
	r, err := Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Broken {
		t.Error(s)
	}
	for _, s := range r.Long {
		t.Logf("long file: %s (aim at %d)", s, longFile)
	}
	if r.Packages < 5 {
		t.Errorf("only %d packages were seen", r.Packages)
	}
}

// TestTables: a misspelt pattern would match nothing and forbid nothing.
func TestTables(t *testing.T) {
	var all []string
	for _, row := range floors {
		all = append(all, row...)
	}
	for _, r := range rooms {
		all = append(append(all, r.shipped...), r.tests...)
	}
	for _, p := range slices.Concat(all, standardOnly, mayImportTesting) {
		if _, err := path.Match(p, "x"); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, pkg := range slices.Concat(standardOnly, mayImportTesting) {
		if floorOf(pkg) < 0 {
			t.Errorf("%s has no floor", pkg)
		}
	}
}

// TestBrokenHouses: each rule is seen to fail.
func TestBrokenHouses(t *testing.T) {
	imports := func(list ...string) *fstest.MapFile {
		src := "package x\n"
		for _, i := range list {
			src += "import _ \"" + i + "\"\n"
		}
		return &fstest.MapFile{Data: []byte(src)}
	}
	for _, tc := range []struct {
		name  string
		files fstest.MapFS
		want  string // part of the one broken rule; "" for none
	}{
		{"lower floor", fstest.MapFS{"cache/x.go": imports("github.com/forst-go/forst/forstfs/driver", "fmt")}, ""},
		{"higher floor", fstest.MapFS{"cache/x.go": imports("github.com/forst-go/forst/forstfs")}, "not on a lower floor"},
		{"same floor", fstest.MapFS{"forstfs/s3/x.go": imports("github.com/forst-go/forst/forstfs/mem")}, "not on a lower floor"},
		{"root package", fstest.MapFS{"state/x.go": imports("github.com/forst-go/forst")}, "not on a lower floor"},
		{"unknown import of the module", fstest.MapFS{"cmd/forst/x.go": imports("github.com/forst-go/forst/forstfs/driver"), "x/x.go": imports()}, "x is in no row"},
		{"tests look anywhere", fstest.MapFS{"forstfs/s3/x_test.go": imports("github.com/forst-go/forst/conformance", "testing", "pgregory.net/rapid")}, ""},
		{"driver stands alone", fstest.MapFS{"forstfs/driver/x.go": imports("github.com/klauspost/compress/zstd")}, "standard library only"},
		{"testing in shipped code", fstest.MapFS{"cache/x.go": imports("testing/fstest")}, "shipped code never does"},
		{"testing in conformance", fstest.MapFS{"conformance/x.go": imports("testing")}, ""},
		{"AWS outside of s3", fstest.MapFS{"forstfs/x.go": imports("github.com/aws/aws-sdk-go-v2/aws")}, "outside of its room"},
		{"AWS in a test outside of s3", fstest.MapFS{"forstfs/x_test.go": imports("github.com/aws/aws-sdk-go-v2/aws")}, "outside of its room"},
		{"Pebble in the file system", fstest.MapFS{"forstfs/x.go": imports("github.com/cockroachdb/pebble/v2")}, "outside of its room"},
		{"Pebble in its adapter", fstest.MapFS{"engineadapter/pebblev2/x.go": imports("github.com/cockroachdb/pebble/v2")}, ""},
		{"Pebble in a test of conformance", fstest.MapFS{"conformance/x_test.go": imports("github.com/cockroachdb/pebble/v2")}, ""},
		{"rapid in shipped code", fstest.MapFS{"cache/x.go": imports("pgregory.net/rapid")}, "outside of its room"},
		{"a new dependency", fstest.MapFS{"cache/x.go": imports("example.com/nice")}, "no row of the table of rooms"},
		{"another module inside", fstest.MapFS{"docs/model/go.mod": {}, "docs/model/x.go": imports("example.com/nice")}, ""},
		{"hidden and test data", fstest.MapFS{".cache/x.go": imports("example.com/nice"), "cache/testdata/x.go": imports("example.com/nice")}, ""},
		{"build tags hide nothing", fstest.MapFS{"cache/x.go": {Data: []byte("//go:build never\n\npackage x\nimport _ \"testing\"\n")}}, "shipped code never does"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := Check(tc.files)
			if err != nil {
				t.Fatal(err)
			}
			if tc.want == "" && len(r.Broken) == 0 {
				return
			}
			if len(r.Broken) != 1 || tc.want == "" || !strings.Contains(r.Broken[0], tc.want) {
				t.Errorf("got %q, want one with %q", r.Broken, tc.want)
			}
		})
	}
	if _, err := Check(fstest.MapFS{"cache/x.go": {Data: []byte("no Go")}}); err == nil {
		t.Error("a file that is no Go passed")
	}
}
