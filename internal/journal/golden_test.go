package journal

import (
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// golden compares text with a file of testdata.
func golden(name, got string) error {
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(got), 0o666)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if string(want) != got {
		return fmt.Errorf("%s (use -update and read the diff):\n%s", path, diff(string(want), got))
	}
	return nil
}

func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var b strings.Builder
	for i := range max(len(w), len(g)) {
		var x, y string
		if i < len(w) {
			x = w[i]
		}
		if i < len(g) {
			y = g[i]
		}
		if x != y {
			fmt.Fprintf(&b, "line %d\n- %s\n+ %s\n", i+1, x, y)
		}
	}
	return b.String()
}

// sealed returns b with the right checksum.
func sealed(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
	return b
}
