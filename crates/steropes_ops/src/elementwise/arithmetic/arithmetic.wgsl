// PER_THREAD packs for each invocation, loaded before they are used. Behind the end the last pack is computed again and not
// stored.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed; operation, right_at; THREADS, PER_THREAD, first_pack; y, x_at.

// Packs of this launch; where the first of them is in a row of `period` packs; the right operand if it is a number of the host.
struct Params { count: u32, first: u32, period: u32, factor: f32 }
var<immediate> params: Params;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = first_pack(group, thread);
    var left: array<Pack, PER_THREAD>;
    var others: array<Quads, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = min(first + i * THREADS, params.count - 1u);
        left[i] = x_at(p);
        others[i] = right_at(p);
    }
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = first + i * THREADS;
        if (p < params.count) {
            var values = unpacked(left[i]);
            for (var q = 0u; q < QUADS; q++) {
                values[q] = operation(values[q], others[i][q]);
            }
            y[p] = packed(values);
        }
    }
}
