// PER_THREAD packs for each invocation, loaded before they are used. Behind the end the last pack is computed again and not
// stored.
//
// Header: Pack, Quads, QUADS, unpacked, packed; THREADS, PER_THREAD, first_pack; y, x_at.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(1) var<storage, read> addend: array<Pack>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = first_pack(group, thread);
    var left: array<Pack, PER_THREAD>;
    var right: array<Pack, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = min(first + i * THREADS, params.count - 1u);
        left[i] = x_at(p);
        right[i] = addend[p];
    }
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = first + i * THREADS;
        if (p < params.count) {
            var sum = unpacked(left[i]);
            let other = unpacked(right[i]);
            for (var q = 0u; q < QUADS; q++) {
                sum[q] += other[q];
            }
            y[p] = packed(sum);
        }
    }
}
