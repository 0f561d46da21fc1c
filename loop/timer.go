// The timer wheel of a loop, for every timeout and sleep. loop.go has AfterFunc and
// StopTimer, which arm and disarm timers, and arm, which asks the driver for the turns that
// the wheel needs.

package loop

import "math/bits"

const (
	tickShift  = 18 // one tick is 2^18 ns, 0.26 ms
	slotBits   = 6
	slotCount  = 1 << slotBits
	levelCount = 6 // 2^36 ticks: 208 days; later timers wait in the last level
	never      = int64(1<<63 - 1)
	wheelTicks = int64(1) << (slotBits * levelCount)
	slotMask   = slotCount - 1
)

// Timer is one timeout of a loop. Embed it in the value that it times out: arming it does
// not allocate. The zero Timer is unarmed. Loop goroutine only.
type Timer struct {
	next, prev *Timer
	due        int64 // clock ns
	slot       int16 // level*slotCount+slot+1; 0 when unarmed
	fire       func(*Timer)
	// Owner is for the function given to Loop.AfterFunc: the value that the timer is for.
	Owner any
}

// Armed reports whether the timer is going to fire.
func (t *Timer) Armed() bool { return t.slot != 0 }

// Due returns the clock time in ns at which an armed timer fires.
func (t *Timer) Due() int64 { return t.due }

// wheel is a hierarchical timing wheel (Varghese and Lauck): insert and remove
// are O(1) (BenchmarkTimer), and a bitmap per level finds the next slot.
type wheel struct {
	tick  int64 // ticks handled so far
	count int
	used  [levelCount]uint64
	slots [levelCount * slotCount]Timer // list heads
}

func (w *wheel) init(now int64) {
	w.tick = now >> tickShift
	for i := range w.slots {
		s := &w.slots[i]
		s.next, s.prev = s, s
	}
}

// add arms t to fire at the first tick at or after due.
func (w *wheel) add(t *Timer, due int64) {
	w.remove(t)
	t.due = min(due, never-1<<(tickShift+1))
	w.place(t)
	w.count++
}

func (w *wheel) place(t *Timer) {
	at := (t.due + 1<<tickShift - 1) >> tickShift
	if at <= w.tick {
		at = w.tick + 1
	}
	if at-w.tick >= wheelTicks {
		at = w.tick + wheelTicks - 1
	}
	// The level is where the highest differing digit between now and then is.
	level := (bits.Len64(uint64(at^w.tick)) - 1) / slotBits
	if level >= levelCount {
		level = levelCount - 1
	}
	slot := int(at>>(level*slotBits)) & slotMask
	i := level*slotCount + slot
	head := &w.slots[i]
	t.slot = int16(i + 1)
	t.next, t.prev = head, head.prev
	head.prev.next = t
	head.prev = t
	w.used[level] |= 1 << slot
}

// remove disarms t; an unarmed timer stays as it is.
func (w *wheel) remove(t *Timer) {
	if t.slot == 0 {
		return
	}
	w.unlink(t)
	w.count--
}

func (w *wheel) unlink(t *Timer) {
	i := int(t.slot - 1)
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev, t.slot = nil, nil, 0
	if head := &w.slots[i]; head.next == head {
		w.used[i/slotCount] &^= 1 << (i & slotMask)
	}
}

// next returns the clock time of the next tick at which advance has work, or
// never. It may be early for timers of higher levels (they cascade then).
func (w *wheel) next() int64 {
	for level := range levelCount {
		used := w.used[level]
		if used == 0 {
			continue
		}
		shift := level * slotBits
		pos := int(w.tick>>shift) & slotMask
		// Slots at or before pos belong to the next round of this level.
		ahead := bits.RotateLeft64(used, -(pos + 1))
		steps := int64(bits.TrailingZeros64(ahead)) + 1
		at := ((w.tick >> shift) + steps) << shift
		return at << tickShift
	}
	return never
}

// advance fires every timer due at or before now, in order of their ticks. A
// callback may arm and disarm any timer.
func (w *wheel) advance(now int64) (fired int) {
	for {
		at := w.next()
		if at > now {
			break
		}
		w.tick = at >> tickShift
		fired += w.turn()
	}
	if tick := now >> tickShift; tick > w.tick {
		w.tick = tick
	}
	return fired
}

// turn handles the tick w.tick: it cascades the timers that higher levels hold for it,
// highest level first, and then fires those of level 0.
func (w *wheel) turn() (fired int) {
	for level := levelCount - 1; level > 0; level-- {
		shift := level * slotBits
		if w.tick&(1<<shift-1) != 0 {
			continue
		}
		head := &w.slots[level*slotCount+int(w.tick>>shift)&slotMask]
		for head.next != head {
			t := head.next
			w.unlink(t)
			if (t.due+1<<tickShift-1)>>tickShift <= w.tick {
				w.count--
				t.fire(t)
				fired++
				continue
			}
			w.place(t)
		}
	}
	head := &w.slots[int(w.tick)&slotMask]
	for head.next != head {
		t := head.next
		w.remove(t)
		t.fire(t)
		fired++
	}
	return fired
}
