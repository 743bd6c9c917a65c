// Package forstfs is a file system for log-structured engines whose only durable home is an object store: a volume.
//
// A volume is one directory tree in one driver.Store. Names, links, renames and the bytes of small or often-synced files
// (WAL, MANIFEST, markers) go through one ordered journal; the bytes of bulk files (SST, blob) go to data objects of their
// own. The rules are in docs/protocol.md, the bytes in docs/format.md.
//
// # What is durable when
//
// File.Sync, Dir.Sync, FS.Sync and FS.Close return nil only when the bytes in question and every operation on names
// issued before are in the store and belong to the recovered state, now and after every later takeover. File.Close of a bulk
// file returns when its bytes are in the store; its name is durable with the next Sync of anything. After a crash
// the names are exactly those after some prefix of the operations issued, with everything acknowledged in it; each file has
// at least its synced bytes and never bytes that were not written to it.
//
// # One writer
//
// A volume has one writer. A later Open takes the volume over; the earlier one then fails with ErrFenced at its next
// durability call and never acknowledges anything again. Until it makes one, a fenced process can still read what it knew:
// its reads may be stale without limit. Readers (OpenReadOnly) are free and never disturb the writer.
//
// All methods may be called from many goroutines; one *File has one writer at a time.
package forstfs
