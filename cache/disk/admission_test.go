package disk

import "testing"

// offer offers a block and reports whether it was taken.
func (t *Tier) offer(id ID, data []byte) bool {
	t.Offer(id, int64(len(data)), 0, data)
	t.idle()
	return t.Has(id, 0)
}

func TestOffer(t *testing.T) {
	c := openTier(t, testOptions(t.TempDir(), 64))
	data := content(1, 0, block)
	num, taken := uint64(0), 0
	for ; c.Metrics().PassedOver == 0; num++ {
		if c.offer(testID(num), data) {
			taken++
		}
		if num > 1000 {
			t.Fatal("takes everything")
		}
	}
	if all := len(c.segments) * c.perSegment; taken < all || int(num) > all+admitEvery {
		t.Errorf("%d of %d blocks were taken before one was passed over, of %d slots", taken, num, all)
	}
	const more = 800
	taken = 0
	for range more {
		if num++; c.offer(testID(num), data) {
			taken++
		}
	}
	if taken != more/admitEvery {
		t.Errorf("full: %d of %d new blocks were taken, want one in %d", taken, more, admitEvery)
	}
	if c.offer(testID(num), data); !c.offer(testID(num), data) {
		t.Error("a block was not taken at the second time")
	}
	for range admitEvery {
		num++
		c.Put(testID(num), block, 0, data)
		if c.idle(); !c.Has(testID(num), 0) {
			t.Error("full: Put did not take a block")
		}
	}
	if m := c.Metrics(); m.PassedOver < more-more/admitEvery || m.Objects > m.Blocks {
		t.Errorf("%v", m)
	}

	dear := testID(0)
	dear.Volume[1] = 1
	c.Pin(dear.Volume)
	for range 2 * admitEvery {
		if dear.Num++; !c.offer(dear, data) {
			t.Error("a pinned volume's block was passed over")
		}
	}
	c.Unpin(dear.Volume)
	c.Drop(testID(num)) // there is room again
	if num++; !c.offer(testID(num), data) {
		t.Error("a block was passed over although there was room")
	}
	if err := c.settled(); err != nil {
		t.Error(err)
	}
}

// What a full cache passes over is not missed: the hit ratio is that of a cache that takes everything, with far fewer writes, also when the reads that matter are
// mixed with those of a scan, and when the working set changes.
func TestHitRatioOfAdmission(t *testing.T) {
	const bs, objects, each, slots, turn = 512, 100, 64, 640, 20_000
	data := make([]byte, bs)
	for _, scans := range []bool{false, true} {
		var ratio [2]float64
		var written [2]int64
		for i := range ratio {
			c := openTier(t, &Options{Dir: t.TempDir(), Size: 16 * newLayout(bs, slots/16).size(), Reserve: -1, BlockSize: bs, Buffer: 4 * bs})
			use := func(n int) bool {
				id, b := testID(uint64(n/each)), uint32(n%each)
				if c.Get(id, b, 0, data) {
					return true
				}
				if i == 0 {
					c.Put(id, each*bs, b, data)
				} else {
					c.Offer(id, each*bs, b, data)
				}
				c.idle()
				return false
			}
			z, hits, reads, scan := newZipf(objects*each), 0, 0, 0
			for k := range 3 * turn {
				if scans && k%5 == 0 {
					scan++
					use(scan % (objects * each))
					continue
				}
				n := z.next()
				if k > 2*turn {
					n = (n + objects*each/2) % (objects * each) // others are popular now
				}
				hit := use(n)
				if k > turn {
					if reads++; hit {
						hits++
					}
				}
			}
			ratio[i], written[i] = 100*float64(hits)/float64(reads), c.Metrics().Written
		}
		t.Logf("scans %v: %.1f %% with %d writes, %.1f %% with %d when all are taken", scans, ratio[1], written[1], ratio[0], written[0])
		if ratio[1] < ratio[0]-1.5 || written[1] > written[0]/2 {
			t.Error("want at most 1.5 points less, with half of the writes")
		}
	}
}
