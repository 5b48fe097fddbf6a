// activated(gate) up: PER_THREAD packs for each invocation, loaded before they are used. Behind the end the last pack is computed
// again and not stored. x_at is the gate.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed; THREADS, PER_THREAD, first_pack; activated; y, x_at.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(1) var<storage, read> up: array<Pack>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = first_pack(group, thread);
    var gates: array<Pack, PER_THREAD>;
    var ups: array<Pack, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = min(first + i * THREADS, params.count - 1u);
        gates[i] = x_at(p);
        ups[i] = up[p];
    }
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = first + i * THREADS;
        if (p < params.count) {
            var values = unpacked(gates[i]);
            let others = unpacked(ups[i]);
            for (var q = 0u; q < QUADS; q++) {
                values[q] = activated(values[q]) * others[q];
            }
            y[p] = packed(values);
        }
    }
}
