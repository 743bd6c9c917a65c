package forst

import "testing"

func TestLocation(t *testing.T) {
	for _, c := range []struct{ from, to, record, again string }{
		{"s3://b/team/clone", "s3://b/team/prod", "../prod", ""},
		{"s3://b/clone?region=x", "s3://b/deep/er/prod?region=x", "../deep/er/prod", ""},
		{"s3://b/a/b/c", "s3://b/z", "../../../z", ""},
		{"s3://b/x", "s3://other/x?region=eu", "s3://other/x?region=eu", ""},
		{"s3://b/x?region=us", "s3://b/y?region=eu", "s3://b/y?region=eu", ""},
		{"file:///data/clone?create=1", "file:///data/prod?mode=ro", "../prod", "file:///data/prod"},
		{"file:///one/clone", "file:///two/prod", "file:///two/prod", ""},
		{"s3://b/prod/clone", "s3://b/prod", "..", ""},
		{"s3://b/a b/clone", "s3://b/a b/prod é", "../prod é", "s3://b/a%20b/prod%20%C3%A9"},
		{"s3://u:secret@b/x", "s3://u:secret@c/y", "s3://c/y", ""},
	} {
		got, err := Location(c.from, c.to)
		if err != nil || got != c.record {
			t.Errorf("from %s to %s: %q, %v, want %q", c.from, c.to, got, err, c.record)
			continue
		}
		want := c.again
		if want == "" {
			want = c.to
		}
		if c.from == "s3://u:secret@b/x" {
			want = "s3://c/y"
		}
		if again, err := Resolve(c.from, got); err != nil || again != want {
			t.Errorf("%s of %s: %q, %v, want %q", got, c.from, again, err, want)
		}
	}
	// The pair moves to another bucket: the record still leads to the lender.
	if got, err := Resolve("s3://new/place/clone", "../prod"); err != nil || got != "s3://new/place/prod" {
		t.Errorf("after a move: %q, %v", got, err)
	}
	for _, bad := range [][2]string{{"s3://b/x", "../../../y"}, {"%", "../x"}} {
		if got, err := Resolve(bad[0], bad[1]); err == nil {
			t.Errorf("%s of %s: %q", bad[1], bad[0], got)
		}
	}
}
