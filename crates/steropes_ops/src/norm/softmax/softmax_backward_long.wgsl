// As softmax_backward.wgsl for what does not fit registers: result and gradient are read twice.
//
// Header: as softmax.wgsl.

struct Params { items: u32, shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> y: array<Pack>;
@group(0) @binding(1) var<storage, read> grad: array<Pack>;
@group(0) @binding(2) var<storage, read_write> grad_x: array<Pack>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let place = place_of(group, thread, params.items, params.shift);
    var own: Quads;
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = place.slot + i * SLOTS;
        if (c < LEN) {
            let values = unpacked(y[place.first + c * STRIDE]);
            let grads = unpacked(grad[place.first + c * STRIDE]);
            for (var q = 0u; q < QUADS; q++) {
                own[q] += term(values[q], grads[q]);
            }
        }
    }
    let sum = axis_sum(own, thread);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = place.slot + i * SLOTS;
        if (place.inside && c < LEN) {
            let values = unpacked(y[place.first + c * STRIDE]);
            var grads = unpacked(grad[place.first + c * STRIDE]);
            for (var q = 0u; q < QUADS; q++) {
                grads[q] = slope(values[q], grads[q], sum[q]);
            }
            grad_x[place.first + c * STRIDE] = packed(grads);
        }
    }
}
