package main

import (
	"fmt"
	"strings"
)

// How the state of the journal's model is packed into words.

// A frame is packed: kind 2 bits, epoch 3, op 3, predecessor slot 4.
func mkFrame(kind, epoch, op, prev uint8) uint16 {
	return uint16(kind) | uint16(epoch)<<2 | uint16(op)<<5 | uint16(prev)<<8
}
func fKind(f uint16) uint8  { return uint8(f & 3) }
func fEpoch(f uint16) uint8 { return uint8(f >> 2 & 7) }
func fOp(f uint16) uint8    { return uint8(f >> 5 & 7) }
func fPrev(f uint16) uint8  { return uint8(f >> 8 & 15) }

const (
	kData  = 1
	kFence = 2
)

func listAdd(l uint32, w, op uint8) uint32 {
	sh := 0
	for l>>sh != 0 {
		sh += 4
	}
	return l | uint32(w<<2|op)<<sh
}

func listHas(l uint32, w, op uint8) bool {
	for ; l != 0; l >>= 4 {
		if uint8(l&15) == w<<2|op {
			return true
		}
	}
	return false
}

func listPrefix(a, b uint32) bool { // a is a prefix of b
	for ; a != 0; a, b = a>>4, b>>4 {
		if a&15 != b&15 {
			return false
		}
	}
	return true
}

func listStr(l uint32) string {
	var p []string
	for ; l != 0; l >>= 4 {
		p = append(p, fmt.Sprintf("%c%d", 'A'+l>>2&3, l&3))
	}
	return "[" + strings.Join(p, " ") + "]"
}
