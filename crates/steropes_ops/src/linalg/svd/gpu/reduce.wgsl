// Over all invocations of a workgroup of THREADS, which must all call them; trees, so that the order of sums is fixed.
var<workgroup> partial_float: array<f32, THREADS>;
var<workgroup> partial_index: array<u32, THREADS>;

fn tree(x: f32, thread: u32, maximum: bool) -> f32 {
    partial_float[thread] = x;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            let own = partial_float[thread];
            let other = partial_float[thread + half];
            partial_float[thread] = select(own + other, max(own, other), maximum);
        }
    }
    workgroupBarrier();
    let result = partial_float[0];
    workgroupBarrier();
    return result;
}

fn sum_of(x: f32, thread: u32) -> f32 { return tree(x, thread, false); }

fn largest_of(x: f32, thread: u32) -> f32 { return tree(x, thread, true); }

fn first_of(i: u32, thread: u32) -> u32 {
    partial_index[thread] = i;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) { partial_index[thread] = min(partial_index[thread], partial_index[thread + half]); }
    }
    workgroupBarrier();
    let result = partial_index[0];
    workgroupBarrier();
    return result;
}
