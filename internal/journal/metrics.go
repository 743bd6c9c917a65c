package journal

import (
	"fmt"
	"sync/atomic"
)

// counters are what Metrics shows.
type counters struct {
	frames, frameBytes, entries  atomic.Int64
	retries, readBacks, restarts atomic.Int64
	replayed, voids              atomic.Int64
	images, imageBytes           atomic.Int64
	damagedImages                atomic.Int64
	trimmed, swept               atomic.Int64
}

// count returns an event function that counts retries and passes events on.
func (c *counters) count(o *Options) func(Event) {
	return func(e Event) {
		switch e.Kind {
		case EventRetry:
			c.retries.Add(1)
		case EventReadBack:
			c.readBacks.Add(1)
		}
		o.emit(e)
	}
}

// Metrics are counts since Open.
type Metrics struct {
	Frames        int64 // frames acknowledged
	FrameBytes    int64 // their size
	Entries       int64 // entries in them
	Retries       int64 // requests for frames, fences and images that were tried again
	ReadBacks     int64 // lost replies and conflicts that turned out to be the own bytes
	Restarts      int64 // times that the open started again
	Replayed      int64 // effective data frames replayed by the open
	Voids         int64 // void frames met by the open
	Images        int64 // images written
	ImageBytes    int64 // their size
	DamagedImages int64 // images found damaged
	Trimmed       int64 // frames and images deleted by Trim
	Swept         int64 // stray objects deleted by Sweep
}

func (c *counters) metrics() Metrics {
	return Metrics{
		Frames: c.frames.Load(), FrameBytes: c.frameBytes.Load(), Entries: c.entries.Load(),
		Retries: c.retries.Load(), ReadBacks: c.readBacks.Load(), Restarts: c.restarts.Load(),
		Replayed: c.replayed.Load(), Voids: c.voids.Load(), Images: c.images.Load(), ImageBytes: c.imageBytes.Load(),
		DamagedImages: c.damagedImages.Load(), Trimmed: c.trimmed.Load(), Swept: c.swept.Load(),
	}
}

// String returns all counts in a fixed form.
func (m Metrics) String() string {
	return fmt.Sprintf("journal: %d frames (%d B, %d entries), %d retries, %d read back\n"+
		"open: %d replayed, %d void, %d restarts, %d images damaged\n"+
		"images: %d (%d B); trimmed %d, swept %d",
		m.Frames, m.FrameBytes, m.Entries, m.Retries, m.ReadBacks,
		m.Replayed, m.Voids, m.Restarts, m.DamagedImages,
		m.Images, m.ImageBytes, m.Trimmed, m.Swept)
}
