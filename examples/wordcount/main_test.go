package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain makes the test binary the command when it is started as a child.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Killed twice, rescaled 1 -> 3 -> 2, every word counted once.
func TestWordCount(t *testing.T) {
	store := "file://" + filepath.Join(t.TempDir(), "state") + "?create=1"
	if err := run(context.Background(), []string{"--store", store, "--lines", "6000", "--every", "200"}); err != nil {
		t.Fatal(err)
	}
	var words strings.Builder
	for range 300 {
		words.WriteString("a b a\nc\n\n")
	}
	file := filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(file, []byte(words.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	store = "file://" + filepath.Join(t.TempDir(), "state") + "?create=1"
	if err := run(context.Background(), []string{"--store", store, "--input", file, "--every", "250", "--instances", "2"}); err != nil {
		t.Fatal(err)
	}
}
