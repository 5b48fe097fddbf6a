// One stretch of the axis for each SLOTS invocations; it stays in registers (PER_THREAD packs in each invocation), so it is
// read once.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed; THREADS; SLOTS, STRIDE, LEN (packs along the axis), PER_THREAD, FULL (all
// invocations have as many), LOG (whether the logarithm is wanted); Place, place_of, axis_max, axis_sum.

struct Params { items: u32, shift: u32, nan: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let place = place_of(group, thread, params.items, params.shift);
    var values: array<Quads, PER_THREAD>;
    var largest: Quads;
    for (var q = 0u; q < QUADS; q++) {
        largest[q] = Quad(LOWEST);
    }
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = place.slot + i * SLOTS;
        if (FULL || c < LEN) {
            values[i] = unpacked(x[place.first + c * STRIDE]);
            for (var q = 0u; q < QUADS; q++) {
                largest[q] = max(largest[q], values[i][q]);
            }
        }
    }
    let top = axis_max(largest, thread);
    var sum: Quads;
    for (var i = 0u; i < PER_THREAD; i++) {
        if (FULL || place.slot + i * SLOTS < LEN) {
            for (var q = 0u; q < QUADS; q++) {
                let below = values[i][q] - top[q];
                let share = exp(below);
                sum[q] += share;
                values[i][q] = select(share, below, LOG);
            }
        }
    }
    let scale = scale_of(axis_sum(sum, thread), params.nan);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = place.slot + i * SLOTS;
        if (place.inside && (FULL || c < LEN)) {
            for (var q = 0u; q < QUADS; q++) {
                if (LOG) {
                    values[i][q] -= scale[q];
                } else {
                    values[i][q] *= scale[q];
                }
            }
            y[place.first + c * STRIDE] = packed(values[i]);
        }
    }
}
