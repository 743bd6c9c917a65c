package s3_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
)

// inBubble opens a store in virtual time, over a function instead of a network.
func inBubble(t *testing.T, answer func(*http.Request) (*http.Response, error), change func(*s3.Config)) *s3.Store {
	t.Helper()
	cfg := &s3.Config{
		Bucket: "bucket", Endpoint: "http://store.invalid", AccessKey: "key", SecretKey: driver.NewSecret(topSecret), Seed: 1,
		WrapTransport: func(http.RoundTripper) http.RoundTripper { return roundTripper(answer) },
	}
	if change != nil {
		change(cfg)
	}
	s, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func answerOf(r *http.Request, status int, header http.Header) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: http.NoBody, Request: r}
}

// TestOutage: 500 calls at once meet a store that refuses for 50 s. Every one outlasts it: none is ended early by what the others
// have spent (a token bucket would), and the load on the store stays small.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		requests := 0
		s := inBubble(t, func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			requests++
			mu.Unlock()
			if time.Since(start) < 50*time.Second {
				return answerOf(r, http.StatusServiceUnavailable, nil), nil
			}
			return answerOf(r, http.StatusOK, http.Header{"Etag": {`"e"`}}), nil
		}, nil)
		const calls = 500
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() {
				if err := s.Put(t.Context(), fmt.Sprintf("k/%d", i), []byte("v"), driver.PutOptions{IfAbsent: true}); err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took < 50*time.Second || took > 60*time.Second {
			t.Errorf("the calls ended after %v", took)
		}
		if requests > calls*25 {
			t.Errorf("%d requests for %d calls", requests, calls)
		}
	})
}

// TestDeadlineOfACall: a store that never answers is given up in time, with attempts that grow.
func TestDeadlineOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var begun []time.Duration
		s := inBubble(t, func(r *http.Request) (*http.Response, error) {
			begun = append(begun, time.Since(start).Round(time.Second))
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, nil)
		err := s.Put(t.Context(), "k", []byte("v"), driver.PutOptions{})
		if driver.KindOf(err) != driver.KindTransient || driver.IsCanceled(err) || !strings.Contains(err.Error(), "attempts in") {
			t.Errorf("got %v", err)
		}
		if want := "[0s 5s 15s 35s]"; fmt.Sprint(begun) != want {
			t.Errorf("attempts began at %v, want %s", begun, want)
		}
		if took := time.Since(start); took < 55*time.Second || took > 61*time.Second {
			t.Errorf("given up after %v", took)
		}

		// A big object has the time that its bytes need: 128 MiB at 1 MiB/s.
		start, begun = time.Now(), nil
		err = s.Put(t.Context(), "k", make([]byte, 128<<20), driver.PutOptions{})
		if driver.KindOf(err) != driver.KindTransient || len(begun) != 2 || begun[1] != 133*time.Second {
			t.Errorf("attempts began at %v: %v", begun, err)
		}
		if took := time.Since(start); took > (61+128)*time.Second {
			t.Errorf("given up after %v", took)
		}
	})
}

// TestRetryAfter is followed, within reason.
func TestRetryAfter(t *testing.T) {
	for asked, want := range map[string]time.Duration{"7": 7 * time.Second, "9999": 30 * time.Second, "soon": 0} {
		synctest.Test(t, func(t *testing.T) {
			start, n := time.Now(), 0
			s := inBubble(t, func(r *http.Request) (*http.Response, error) {
				if n++; n == 1 {
					return answerOf(r, http.StatusServiceUnavailable, http.Header{"Retry-After": {asked}}), nil
				}
				return answerOf(r, http.StatusOK, nil), nil
			}, nil)
			if err := s.Put(t.Context(), "k", nil, driver.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took < want || took > want+time.Second {
				t.Errorf("Retry-After %s: waited %v", asked, took)
			}
		})
	}
}

// TestWaitEndsWithTheContext: a caller that goes away does not wait for the next attempt.
func TestWaitEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inBubble(t, func(r *http.Request) (*http.Response, error) {
			return answerOf(r, http.StatusServiceUnavailable, http.Header{"Retry-After": {"20"}}), nil
		}, nil)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Put(ctx, "k", nil, driver.PutOptions{}); !driver.IsCanceled(err) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestSeed: the same seed gives the same waits.
func TestSeed(t *testing.T) {
	run := func(seed uint64) (waits []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			s := inBubble(t, func(r *http.Request) (*http.Response, error) {
				return answerOf(r, http.StatusInternalServerError, nil), nil
			},
				func(c *s3.Config) {
					c.Seed = seed
					c.OnRetry = func(r s3.Retry) { waits = append(waits, r.Wait) }
				})
			s.Put(t.Context(), "k", nil, driver.PutOptions{})
		})
		return waits
	}
	a, b, c := run(1), run(1), run(2)
	if fmt.Sprint(a) != fmt.Sprint(b) || fmt.Sprint(a) == fmt.Sprint(c) || len(a) < 10 {
		t.Errorf("waits %v, again %v, other seed %v", a, b, c)
	}
}
