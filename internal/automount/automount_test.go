package automount

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	got, err := Parse("/data/db=s3://bucket/db?region=x, /other/=file:///var/vol#node1/db ,/c=s3://bucket/a%2Cb")
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ dir, root, url string }{
		{"/data/db", "/", "s3://bucket/db?region=x"},
		{"/other", "/node1/db", "file:///var/vol"},
		{"/c", "/", "s3://bucket/a%2Cb"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i, w := range want {
		if m := got[i]; m.Dir != w.dir || m.Root != w.root || m.url != w.url {
			t.Errorf("entry %d: %q %q %q, want %q", i, m.Dir, m.Root, m.url, w)
		}
	}
	if s := got[0].Shown(); s != "s3://bucket/db" {
		t.Errorf("shown as %s", s)
	}
}

func TestParseRefuses(t *testing.T) {
	const secret = "Tr0ub4dor"
	for value, want := range map[string]string{
		"":                                    "want DIR=URL",
		"/data":                               "want DIR=URL",
		"/data=":                              "want DIR=URL",
		"=s3://b/x":                           "want DIR=URL",
		"/a=s3://b/x,":                        "entry 2",
		"data=s3://b/x":                       "not an absolute path",
		"/data=/var/x":                        "no URL",
		"/data=s3:" + secret:                  "no URL",
		"/data=ftp://u:" + secret + "@h/x":    `scheme "ftp"; known are file`,
		"/data=s3://u:" + secret + "@h:bad/x": "cannot be read",
		"/a=s3://b/x,/a/=s3://b/y":            "/a is mounted twice",
		"/a=s3://u:" + secret + "@b/x?k=" + secret + ",/b=s3://u:" + secret + "@b/x?k=" + secret: "volume s3://b/x is mounted twice",
	} {
		m, err := Parse(value)
		if err == nil {
			t.Errorf("%q was taken: %+v", value, m)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q in it", value, err, want)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q: the error shows a secret: %v", value, err)
		}
	}
}
