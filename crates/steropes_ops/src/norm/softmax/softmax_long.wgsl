// One stretch of the axis for each SLOTS invocations, read twice: first every invocation keeps the largest values so far and the
// sums of exponentials relative to them, BLOCK packs at a time, then the stretch is scaled.
//
// Header: as softmax.wgsl, and BLOCK.

struct Params { items: u32, shift: u32, nan: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let place = place_of(group, thread, params.items, params.shift);
    var largest: Quads;
    var sum: Quads;
    for (var q = 0u; q < QUADS; q++) {
        largest[q] = Quad(LOWEST);
    }
    for (var i = 0u; i < PER_THREAD; i += BLOCK) {
        var block: array<Quads, BLOCK>;
        var top = largest;
        for (var b = 0u; b < BLOCK; b++) {
            let c = place.slot + (i + b) * SLOTS;
            if (c < LEN) {
                block[b] = unpacked(x[place.first + c * STRIDE]);
                for (var q = 0u; q < QUADS; q++) {
                    top[q] = max(top[q], block[b][q]);
                }
            }
        }
        for (var q = 0u; q < QUADS; q++) {
            sum[q] *= exp(largest[q] - top[q]);
        }
        for (var b = 0u; b < BLOCK; b++) {
            if (place.slot + (i + b) * SLOTS < LEN) {
                for (var q = 0u; q < QUADS; q++) {
                    sum[q] += exp(block[b][q] - top[q]);
                }
            }
        }
        largest = top;
    }
    let top = axis_max(largest, thread);
    for (var q = 0u; q < QUADS; q++) {
        sum[q] *= exp(largest[q] - top[q]);
    }
    let scale = scale_of(axis_sum(sum, thread), params.nan);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = place.slot + i * SLOTS;
        if (place.inside && c < LEN) {
            var values = unpacked(x[place.first + c * STRIDE]);
            for (var q = 0u; q < QUADS; q++) {
                let below = values[q] - top[q];
                if (LOG) {
                    values[q] = below - scale[q];
                } else {
                    values[q] = exp(below) * scale[q];
                }
            }
            y[place.first + c * STRIDE] = packed(values);
        }
    }
}
