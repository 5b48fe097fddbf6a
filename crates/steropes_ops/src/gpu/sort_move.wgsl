// Moves the keys of a block to their places by one digit. Equal digits keep their order: keys lie one after another in an
// invocation, and the counts of all invocations before are added up in their order.
//
// Header: THREADS, EACH, DIGITS; FIRST (the order is that of the keys).

struct Params { count: u32, bit: u32, blocks: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> keys: array<u32>;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read_write> sorted_keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> sorted_order: array<u32>;

// For each digit the keys of each invocation, then those of the invocations before it.
var<workgroup> own: array<u32, DIGITS * THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let block = group.x + group.y * 32768u;
    for (var d = 0u; d < DIGITS; d++) {
        own[d * THREADS + thread] = 0u;
    }
    let first = (block * THREADS + thread) * EACH;
    for (var i = 0u; i < EACH; i++) {
        if (first + i < params.count) {
            own[((keys[first + i] >> params.bit) % DIGITS) * THREADS + thread] += 1u;
        }
    }
    workgroupBarrier();
    if (thread < DIGITS && block < params.blocks) {
        var place = starts[thread * params.blocks + block];
        for (var t = 0u; t < THREADS; t++) {
            let count = own[thread * THREADS + t];
            own[thread * THREADS + t] = place;
            place += count;
        }
    }
    workgroupBarrier();
    for (var i = 0u; i < EACH; i++) {
        let at = first + i;
        if (at < params.count) {
            let key = keys[at];
            let slot = ((key >> params.bit) % DIGITS) * THREADS + thread;
            let place = own[slot];
            own[slot] = place + 1u;
            sorted_keys[place] = key;
            var origin = order[at];
            if (FIRST) {
                origin = at;
            }
            sorted_order[place] = origin;
        }
    }
}
