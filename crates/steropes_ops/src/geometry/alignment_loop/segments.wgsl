// Matches of a unit lie in the order of their owner's anchors: derivatives by one depth are a run of neighbours, a segment.

@group(0) @binding(5) var<storage, read_write> segments: array<f32>;

// Adds up `scratch[match]` over every segment of the unit. The kernel defines `segment_start(match)`: where the segment of
// that number starts within the unit.
fn write_segments(thread: u32, unit: Unit, inside: bool) {
    workgroupBarrier();
    for (var j = 0u; j < PER_THREAD; j++) {
        let segment = thread + j * THREADS;
        if (segment < unit.segments && inside) {
            let start = segment_start(unit.first + segment);
            var end = unit.count;
            if (segment + 1u < unit.segments) {
                end = segment_start(unit.first + segment + 1u);
            }
            var sum = 0.0;
            for (var i = start; i < end; i++) {
                sum += scratch[i];
            }
            segments[unit.segment_base + segment] = params.share * sum;
        }
    }
    workgroupBarrier();
}
