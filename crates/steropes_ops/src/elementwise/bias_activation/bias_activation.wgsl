// activated(x + bias), the bias along the last axis: PER_THREAD packs for each invocation, loaded before they are used. Behind the
// end the last pack is computed again and not stored.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed; THREADS, PER_THREAD, first_pack; WIDTH (packs in a row); activated; y, x_at.

// `first` is the place in its row of the first pack.
struct Params { count: u32, first: u32 }
var<immediate> params: Params;
@group(0) @binding(1) var<storage, read> bias: array<Quad>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = first_pack(group, thread);
    var loaded: array<Pack, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i++) {
        loaded[i] = x_at(min(first + i * THREADS, params.count - 1u));
    }
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = first + i * THREADS;
        if (p < params.count) {
            let c = (params.first + p) % WIDTH;
            var values = unpacked(loaded[i]);
            for (var q = 0u; q < QUADS; q++) {
                values[q] = activated(values[q] + bias[c * QUADS + q]);
            }
            y[p] = packed(values);
        }
    }
}
