package s3

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/forst-go/forst/forstfs/driver"
)

const (
	parallelBatches = 4  // DELETE requests of one call in flight
	parallelSingles = 16 // the same, where the store has no batches
)

// Delete implements driver.Store: one DELETE for one key, else batches of 1000, four at a time. After an error the others are
// still tried; the error names a key of each kind of failure.
func (s *Store) Delete(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if err := driver.CheckKey(key); err != nil {
			return s.fail(call{op: "delete", key: key}, driver.KindInvalid, err)
		}
	}
	c := call{op: "delete"}
	if len(keys) == 1 {
		c.key = keys[0]
	}
	r, err := s.begin(ctx, c)
	if err != nil {
		return err
	}
	defer r.end()
	if len(keys) == 1 {
		return s.deleteOne(r.ctx, keys[0])
	}
	err = inParallel(parallelBatches, slices.Collect(slices.Chunk(keys, maxDeletes)), func(batch []string) error {
		return s.deleteBatch(r.ctx, batch)
	})
	if driver.KindOf(err) == driver.KindUnsupported {
		// Google's and some other stores have no DeleteObjects.
		return inParallel(parallelSingles, keys, func(key string) error { return s.deleteOne(r.ctx, key) })
	}
	return err
}

func (s *Store) deleteOne(ctx context.Context, key string) error {
	err := s.do(ctx, call{op: "delete", key: key}, func(a *attempt) error {
		_, err := s.client.DeleteObject(a.ctx, &s3.DeleteObjectInput{Bucket: aws.String(s.cfg.Bucket), Key: aws.String(s.full(key))})
		return err
	})
	if driver.KindOf(err) == driver.KindNotExist {
		return nil
	}
	return err
}

// deleteBatch deletes at most 1000 keys; a retry sends only those that the store reported as failed.
func (s *Store) deleteBatch(ctx context.Context, keys []string) error {
	left := make([]types.ObjectIdentifier, len(keys))
	for i, key := range keys {
		left[i].Key = aws.String(s.full(key))
	}
	// The store may remove the objects one after the other before it answers.
	c := call{op: "delete", key: commonPrefix(keys), bytes: int64(len(keys)) * 16 << 10}
	return s.do(ctx, c, func(a *attempt) error {
		in := s3.DeleteObjectsInput{Bucket: aws.String(s.cfg.Bucket), Delete: &types.Delete{Objects: left, Quiet: aws.Bool(true)}}
		out, err := s.client.DeleteObjects(a.ctx, &in, s.withMD5)
		if err != nil {
			return err
		}
		var again []types.ObjectIdentifier
		var worst *keyError
		for _, e := range out.Errors {
			if code := aws.ToString(e.Code); code == "NoSuchKey" || code == "NoSuchVersion" {
				continue
			}
			again = append(again, types.ObjectIdentifier{Key: e.Key})
			f := classifyResponse(&ResponseError{Status: 200, Code: aws.ToString(e.Code), Message: clip(aws.ToString(e.Message))}, nil)
			if worst == nil || f.attempts == 1 && worst.failure.attempts != 1 {
				worst = &keyError{key: aws.ToString(e.Key), failure: f}
			}
		}
		if worst == nil {
			return nil
		}
		left, worst.keys = again, len(again)
		return worst
	})
}

// keyError is a failure that the store reported for single keys of a batch.
type keyError struct {
	key     string
	keys    int
	failure failure
}

func (e *keyError) Error() string {
	return fmt.Sprintf("%d keys are not deleted, for example %q: %v", e.keys, clip(e.key), e.failure.err)
}

func (e *keyError) Unwrap() error { return e.failure.err }

// withMD5 adds the header that older stores demand for DeleteObjects.
func (s *Store) withMD5(o *s3.Options) {
	if s.cfg.Checksum == ChecksumMD5 {
		o.APIOptions = append(slices.Clip(o.APIOptions), smithyhttp.AddContentChecksumMiddleware)
	}
}

// inParallel runs f for each item, at most limit at a time, waits for all and joins the errors, one of each kind.
func inParallel[T any](limit int, items []T, f func(T) error) error {
	var (
		mu   sync.Mutex
		errs []error
		wg   sync.WaitGroup
		free = make(chan struct{}, limit)
	)
	for _, item := range items {
		free <- struct{}{}
		wg.Add(1)
		go func() {
			defer func() { <-free; wg.Done() }()
			err := f(item)
			if err == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.ContainsFunc(errs, func(e error) bool { return driver.KindOf(e) == driver.KindOf(err) }) {
				errs = append(errs, err)
			}
		}()
	}
	wg.Wait()
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// commonPrefix is what an error shows of a batch.
func commonPrefix(keys []string) string {
	p := keys[0]
	for _, k := range keys[1:] {
		n := 0
		for n < min(len(p), len(k)) && p[n] == k[n] {
			n++
		}
		p = p[:n]
	}
	return p
}
