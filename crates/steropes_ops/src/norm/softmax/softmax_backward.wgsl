// One stretch of the axis for each SLOTS invocations; result and gradient stay in registers (PER_THREAD packs in each
// invocation), so both are read once.
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
    var values: array<Quads, PER_THREAD>;
    var grads: array<Quads, PER_THREAD>;
    var own: Quads;
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = place.slot + i * SLOTS;
        if (FULL || c < LEN) {
            values[i] = unpacked(y[place.first + c * STRIDE]);
            grads[i] = unpacked(grad[place.first + c * STRIDE]);
            for (var q = 0u; q < QUADS; q++) {
                own[q] += term(values[i][q], grads[i][q]);
            }
        }
    }
    let sum = axis_sum(own, thread);
    for (var i = 0u; i < PER_THREAD; i++) {
        let c = place.slot + i * SLOTS;
        if (place.inside && (FULL || c < LEN)) {
            for (var q = 0u; q < QUADS; q++) {
                grads[i][q] = slope(values[i][q], grads[i][q], sum[q]);
            }
            grad_x[place.first + c * STRIDE] = packed(grads[i]);
        }
    }
}
