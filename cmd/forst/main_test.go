package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

// asProgram makes this test binary behave as the program, so that a demo can start its writer process.
const asProgram = "FORST_CLI_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Setenv(asProgram, "1") // for the processes that tests start
	os.Exit(m.Run())
}

// forstRun runs one command line.
func forstRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return forstRunCtx(t.Context(), args...)
}

func forstRunCtx(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// must runs a command line that has to succeed and returns its output.
func must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := forstRun(t, args...)
	if code != exitOK {
		t.Fatalf("forst %s: exit status %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

func fileURL(dir string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(dir)}).String()
}

// TestHelp fixes what the user reads. Rewrite with go test ./cmd/forst -run TestHelp -rewrite.
func TestHelp(t *testing.T) {
	var got strings.Builder
	for _, cmd := range []string{"", "demo", "probe", "ls", "cat", "stat", "du", "create", "drop", "snapshot", "snapshot create", "snapshot ls", "snapshot rm", "snapshot restore", "conformance", "version"} {
		args := append(strings.Fields(cmd), "--help")
		fmt.Fprintf(&got, "$ forst %s\n%s\n", strings.Join(args, " "), must(t, args...))
	}
	golden := filepath.Join("testdata", "help.txt")
	if *rewrite {
		if err := os.WriteFile(golden, []byte(got.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the help text has changed; read it and rewrite %s:\n%s", golden, got.String())
	}
	if bare := must(t); !strings.Contains(got.String(), bare) {
		t.Errorf("forst without arguments prints something else than its help:\n%s", bare)
	}
}

// tree is everything below dir: names and contents. The local driver's own directory is left out when own is false.
func tree(t *testing.T, dir string, own bool) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".forst" && !own {
			return fs.SkipDir
		}
		fmt.Fprintf(&b, "%s", p)
		if d.Type().IsRegular() {
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", crc32.ChecksumIEEE(content))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// makeVolume creates an empty volume in a new directory.
func makeVolume(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	must(t, "create", fileURL(dir))
	return dir
}

// editRoot changes the root of a volume and makes its checksum right again.
func editRoot(t *testing.T, dir string, edit func(b []byte) []byte) {
	t.Helper()
	name := filepath.Join(dir, "volume")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b = edit(b[:len(b)-4])
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(name, b, 0o666); err != nil {
		t.Fatal(err)
	}
}
