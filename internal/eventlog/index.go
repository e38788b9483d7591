package eventlog

// indexSize bounds the index, whatever the log's length.
const indexSize = 1024

// index knows where every stride-th event begins. When it is full it forgets each second one, so a tailer that starts
// anywhere skips at most a thousandth of the log.
type index struct {
	stride  int
	offsets []int64 // offsets[i] is where the event after the first i*stride begins
}

func newIndex() index { return index{stride: 1} }

// add notes that another event begins at the end of what there is.
func (x *index) add(end extent) {
	i := end.events / x.stride
	if end.events%x.stride != 0 || i < len(x.offsets) {
		return
	}
	if i == indexSize {
		for k := range indexSize / 2 {
			x.offsets[k] = x.offsets[2*k]
		}
		x.offsets = x.offsets[:indexSize/2]
		x.stride *= 2
	}
	x.offsets = append(x.offsets, end.size)
}

// find is the nearest known place at or before the end of the first events.
func (x *index) find(events int) extent {
	i := min(max(events, 0)/x.stride, len(x.offsets)-1)
	if i < 0 {
		return extent{}
	}
	return extent{events: i * x.stride, size: x.offsets[i]}
}
