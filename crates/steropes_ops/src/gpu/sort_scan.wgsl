// Replaces every count by the sum of those before it. One workgroup; each invocation takes a stretch.
//
// Header: THREADS.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> counts: array<u32>;

var<workgroup> sums: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
    let each = (params.count + THREADS - 1u) / THREADS;
    let first = min(thread * each, params.count);
    let end = min(first + each, params.count);
    var sum = 0u;
    for (var i = first; i < end; i++) {
        sum += counts[i];
    }
    sums[thread] = sum;
    workgroupBarrier();
    var before = 0u;
    for (var t = 0u; t < thread; t++) {
        before += sums[t];
    }
    for (var i = first; i < end; i++) {
        let own = counts[i];
        counts[i] = before;
        before += own;
    }
}
