package testenv

import (
	"context"
	"errors"
	"path/filepath"
)

// startMinioContainer builds the image of deploy/minio around MinIO's binary, runs it on a free loopback port and waits until it serves a
// signed request.
func startMinioContainer(ctx context.Context, access, secret string) (*minio, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	c, err := newContainer(ctx, "minio", filepath.Join(root, "deploy", "minio", "Dockerfile"), map[string]string{"minio": MinioPath()})
	if err != nil {
		return nil, err
	}
	m, err := runMinioContainer(ctx, c, access, secret)
	if err != nil {
		return nil, errors.Join(err, c.end())
	}
	return m, nil
}

func runMinioContainer(ctx context.Context, c *container, access, secret string) (*minio, error) {
	var last error
	for range 5 { // another process may take the free port before the server does
		addr, err := freePort()
		if err != nil {
			return nil, err
		}
		if err := c.run(ctx, minioSettings(access, secret), "server", "--quiet", "--address", addr, "/data"); err != nil {
			return nil, err
		}
		m := &minio{container: c, endpoint: "http://" + addr, access: access, secret: secret}
		if last = m.ready(ctx); last == nil {
			return m, nil
		}
		if !errors.Is(last, errPortTaken) {
			break
		}
		if err := c.again(ctx); err != nil {
			return nil, err
		}
	}
	return nil, last
}
