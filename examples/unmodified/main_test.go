package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestRun runs the program on three machines that share nothing but the volume. FORST_TEST_S3_URL names an empty prefix for a second round there.
func TestRun(t *testing.T) {
	program := filepath.Join(t.TempDir(), "unmodified")
	if out, err := exec.Command("go", "build", "-mod=mod", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	urls := map[string]string{"local": "file://" + t.TempDir()}
	if u := os.Getenv("FORST_TEST_S3_URL"); u != "" {
		urls["s3"] = u
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			for want := 1; want <= 3; want++ {
				dir := filepath.Join(t.TempDir(), "app")
				cmd := exec.Command(program, dir)
				cmd.Env = append(os.Environ(), "FORST_MOUNT="+dir+"="+url, "FORST_MOUNT_CREATE=1")
				var said bytes.Buffer
				cmd.Stderr = &said
				out, err := cmd.Output()
				if err != nil || string(out) != fmt.Sprintf("run %d\n", want) {
					t.Fatalf("machine %d: %v, %q\n%s", want, err, out, &said)
				}
				err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
					if err == nil && !d.IsDir() {
						err = fmt.Errorf("%s is on the disk", path)
					}
					return err
				})
				if err != nil && !os.IsNotExist(err) {
					t.Error(err)
				}
			}
		})
	}
}
