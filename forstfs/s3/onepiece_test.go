package s3_test

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
)

// TestSmallPutInOnePiece: head and body of a small PUT leave in one write, so no process is ever stopped between them.
func TestSmallPutInOnePiece(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const n = 10
	firsts := make(chan []byte, n)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 64<<10) // all that has come
			k, err := c.Read(buf)
			if err == nil {
				firsts <- buf[:k]
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"x\"\r\nConnection: close\r\n\r\n")
			}
			_ = c.Close()
		}
	}()
	s, err := s3.Open(t.Context(), &s3.Config{Bucket: "b", Endpoint: "http://" + l.Addr().String(), AccessKey: "a", SecretKey: driver.NewSecret("s")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	body := bytes.Repeat([]byte("frame "), 500)
	for range n {
		if err := s.Put(t.Context(), "k", body, driver.PutOptions{IfAbsent: true}); err != nil {
			t.Fatal(err)
		}
		if got := <-firsts; !bytes.HasSuffix(got, body) {
			t.Fatalf("a first write of %d bytes does not end with the body", len(got))
		}
	}
}
