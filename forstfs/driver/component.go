package driver

import "context"

// Component names who makes a request, for metrics and traces.
type Component string

// The components of forst.
const (
	CompOther      Component = "other"
	CompOpen       Component = "open"       // opening a volume: root, images, replay, fence
	CompCommit     Component = "commit"     // journal frames
	CompFlush      Component = "flush"      // data objects of new files
	CompCompaction Component = "compaction" // data objects of rewritten files
	CompRead       Component = "read"       // foreground reads
	CompReadahead  Component = "readahead"  // reads ahead of a sequential handle
	CompPack       Component = "pack"       // packs, images, trimming
	CompGC         Component = "gc"         // deletions and sweeps
	CompSnapshot   Component = "snapshot"
	CompProbe      Component = "probe"
)

type componentKey struct{}

// WithComponent marks the requests made under ctx.
func WithComponent(ctx context.Context, c Component) context.Context {
	return context.WithValue(ctx, componentKey{}, c)
}

// ComponentOf gives the mark of ctx, or CompOther.
func ComponentOf(ctx context.Context) Component {
	if c, ok := ctx.Value(componentKey{}).(Component); ok {
		return c
	}
	return CompOther
}
