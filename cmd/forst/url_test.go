package main

import (
	"strings"
	"testing"
)

// TestDisplay: what messages show of a URL has no secret in it, whatever the URL looks like.
func TestDisplay(t *testing.T) {
	for raw, want := range map[string]string{
		"s3://bucket/prefix":                            "s3://bucket/prefix",
		"s3://bucket/prefix?endpoint=http://h&token=PW": "s3://bucket/prefix",
		"s3://user:PW@bucket/prefix":                    "s3://bucket/prefix",
		"s3://PW@bucket":                                "s3://bucket",
		"file:///dir#PW":                                "file:///dir",
		"s3://user:PW@bucket/%zz?x=PW":                  "bucket/%zz",
		"user:PW@host/dir?PW":                           "host/dir",
		"/dir":                                          "/dir",
		"":                                              "",
	} {
		got := display(raw)
		if got != want || strings.Contains(got, "PW") {
			t.Errorf("display(%q) = %q, want %q", raw, got, want)
		}
	}
}
