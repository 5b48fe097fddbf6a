// As activation.wgsl; y and x_at are the gradient, of the argument and of the result, and `argument` is the argument.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed; THREADS, PER_THREAD, first_pack; slope; y, x_at.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(1) var<storage, read> argument: array<Pack>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = first_pack(group, thread);
    var grads: array<Pack, PER_THREAD>;
    var arguments: array<Pack, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = min(first + i * THREADS, params.count - 1u);
        grads[i] = x_at(p);
        arguments[i] = argument[p];
    }
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = first + i * THREADS;
        if (p < params.count) {
            var values = unpacked(grads[i]);
            let at = unpacked(arguments[i]);
            for (var q = 0u; q < QUADS; q++) {
                values[q] *= slope(at[q]);
            }
            y[p] = packed(values);
        }
    }
}
