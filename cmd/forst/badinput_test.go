package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadInput: each kind of bad input gets its own clear line and exit status, and changes nothing.
func TestBadInput(t *testing.T) {
	empty := t.TempDir()
	missing := filepath.Join(empty, "missing")
	plain := filepath.Join(t.TempDir(), "plain")
	write(t, plain, "a file")
	foreign := t.TempDir()
	write(t, filepath.Join(foreign, "notes"), "somebody else's")
	live := makeVolume(t)
	newer := makeVolume(t)
	editRoot(t, newer, func(b []byte) []byte { b[8] = 2; return b })
	feature := makeVolume(t)
	editRoot(t, feature, func(b []byte) []byte {
		binary.LittleEndian.PutUint32(b[36:], 8)
		return append(b, "\x07r:magic"...)
	})
	damaged := makeVolume(t)
	b, err := os.ReadFile(filepath.Join(damaged, "volume"))
	if err != nil {
		t.Fatal(err)
	}
	b[20] ^= 1
	if err := os.WriteFile(filepath.Join(damaged, "volume"), b, 0o666); err != nil {
		t.Fatal(err)
	}
	dropped := makeVolume(t)
	must(t, "drop", fileURL(dropped), "--yes")
	emptyFile := filepath.Join(t.TempDir(), "lines")
	write(t, emptyFile, "")

	lines := map[string]string{}
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string // all of them stand in the message
		// twin names the case of the same condition by another command, which gives the same message. All others differ.
		twin string
	}{
		// The command line.
		{"unknown command", []string{"lss"}, exitUsage, []string{`unknown command "lss"`, "forst --help"}, ""},
		{"unknown flag", []string{"ls", "--colour", fileURL(live)}, exitUsage, []string{"unknown flag: --colour", "forst ls --help"}, ""},
		{"bad flag value", []string{"demo", "--kills", "many"}, exitUsage, []string{`"many"`, "--kills"}, ""},
		{"no argument", []string{"ls"}, exitUsage, []string{"arguments given: 0", "forst ls URL"}, ""},
		{"too many arguments", []string{"cat", "a", "b", "c"}, exitUsage, []string{"arguments given: 3", "forst cat URL[@SNAPSHOT] PATH"}, ""},
		{"drop without --yes", []string{"drop", fileURL(live)}, exitUsage, []string{"for ever", "--yes", fileURL(live)}, ""},
		{"demo writer by hand", []string{"demo-writer"}, exitUsage, []string{"started by forst demo"}, ""},

		// URLs.
		{"no scheme", []string{"ls", live}, exitUsage, []string{"no scheme", "file:///path", "s3"}, ""},
		{"wrong scheme", []string{"ls", "ftp://host/dir"}, exitUsage, []string{`unknown scheme "ftp"`, "file", "s3"}, ""},
		{"not a URL", []string{"ls", "s3://%zz"}, exitUsage, []string{"not a URL"}, ""},
		{"two slashes", []string{"ls", "file://tmp/x"}, exitUsage, []string{"three slashes"}, ""},
		{"unknown parameter", []string{"ls", fileURL(live) + "?colour=red"}, exitUsage, []string{"colour", "mode"}, ""},
		{"credentials in the URL", []string{"ls", "s3://user:hunter2@bucket/x"}, exitUsage, []string{"credentials", "AWS_ACCESS_KEY_ID"}, ""},

		// Stores and volumes.
		{"missing directory", []string{"create", fileURL(missing)}, exitFailed, []string{fileURL(missing), "create=1"}, ""},
		{"file instead of a directory", []string{"create", fileURL(plain)}, exitFailed, []string{fileURL(plain), "directory"}, ""},
		{"no volume", []string{"ls", fileURL(empty)}, exitFailed, []string{fileURL(empty), "no volume", "forst create"}, ""},
		{"no volume to drop", []string{"drop", fileURL(empty), "--yes"}, exitFailed, []string{fileURL(empty), "no volume"}, "no volume"},
		{"foreign prefix", []string{"create", fileURL(foreign)}, exitFailed, []string{fileURL(foreign), "not a forst volume", "choose"}, ""},
		{"volume exists", []string{"create", fileURL(live)}, exitFailed, []string{fileURL(live), "exists", "use it", "another prefix"}, ""},
		{"newer format", []string{"ls", fileURL(newer)}, exitFailed, []string{fileURL(newer), "newer forst"}, ""},
		{"newer format, writing", []string{"drop", "--yes", fileURL(newer)}, exitFailed, []string{fileURL(newer), "newer forst"}, ""},
		{"unknown feature", []string{"ls", fileURL(feature)}, exitFailed, []string{fileURL(feature), "r:magic", "newer forst"}, ""},
		{"damaged root", []string{"ls", fileURL(damaged)}, exitFailed, []string{fileURL(damaged), "damaged", "nothing was changed", "a backup"}, ""},
		{"dropped volume", []string{"ls", fileURL(dropped)}, exitFailed, []string{fileURL(dropped), "dropped", "another"}, ""},
		{"dropped volume, again", []string{"drop", "--yes", fileURL(dropped)}, exitFailed, []string{fileURL(dropped), "dropped"}, ""},
		{"dropped volume, create", []string{"create", fileURL(dropped)}, exitFailed, []string{fileURL(dropped), "dropped", "another"}, "dropped volume"},

		// Paths in a volume.
		{"missing path", []string{"cat", fileURL(live), "nothing"}, exitFailed, []string{fileURL(live), "/nothing", "not exist"}, ""},
		{"missing path in the URL", []string{"ls", fileURL(live) + "/db/x"}, exitFailed, []string{fileURL(live), "/db/x", "not exist"}, ""},
		{"cat of a directory", []string{"cat", fileURL(live), "/"}, exitFailed, []string{fileURL(live), "is a directory"}, ""},

		// The demo.
		{"demo, no store", []string{"demo", "--store", fileURL(missing)}, exitFailed, []string{fileURL(missing)}, "missing directory"},
		{"demo, wrong scheme", []string{"demo", "--store", "ftp://host"}, exitUsage, []string{"ftp"}, ""},
		{"demo, no input", []string{"demo", "--input", missing}, exitFailed, []string{"--input", missing}, ""},
		{"demo, empty input", []string{"demo", "--input", emptyFile}, exitFailed, []string{"--input", "empty"}, ""},
		{"demo, no records", []string{"demo", "--records", "0"}, exitUsage, []string{"--records 0"}, ""},
		{"demo, negative records", []string{"demo", "--records", "-1"}, exitUsage, []string{"--records -1"}, ""},
		{"demo, no writers", []string{"demo", "--writers", "0"}, exitUsage, []string{"--writers 0"}, ""},
		{"demo, negative kills", []string{"demo", "--kills", "-1"}, exitUsage, []string{"--kills -1"}, ""},
		{"demo, unknown fault", []string{"demo", "--plant", "rot"}, exitUsage, []string{`"rot"`, "early"}, ""},
		{"demo, argument", []string{"demo", "extra"}, exitUsage, []string{"arguments given: 1", "forst demo"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dirs := []string{empty, foreign, live, newer, feature, damaged, dropped}
			var before []string
			for _, d := range dirs {
				before = append(before, tree(t, d, false))
			}
			code, out, errs := forstRun(t, c.args...)
			if code != c.code {
				t.Errorf("exit status %d, want %d", code, c.code)
			}
			if out != "" {
				t.Errorf("standard output: %q", out)
			}
			line, ok := strings.CutSuffix(errs, "\n")
			if !ok || strings.Contains(line, "\n") || !strings.HasPrefix(line, "forst: ") || len(line) > 500 {
				t.Errorf("not one line: %q", errs)
			}
			for _, w := range c.want {
				if !strings.Contains(line, w) {
					t.Errorf("%q is missing in: %s", w, line)
				}
			}
			if strings.Contains(line, "hunter2") {
				t.Errorf("a secret: %s", line)
			}
			if other, ok := lines[line]; ok && other != c.twin {
				t.Errorf("the same message as for %q: %s", other, line)
			}
			lines[line] = c.name
			for i, d := range dirs {
				if tree(t, d, false) != before[i] {
					t.Errorf("something was written to or deleted from %s", d)
				}
			}
			t.Log(line)
		})
	}
}
