var<workgroup> magnitudes: array<u32, THREADS>;
var<workgroup> numbers_of_rows: array<u32, THREADS>;

// The best of all invocations.
fn first_of_largest(own: Pivot, thread: u32) -> Pivot {
    var best = own;
    magnitudes[thread] = best.magnitude;
    numbers_of_rows[thread] = best.row;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            let other = Pivot(magnitudes[thread + half], numbers_of_rows[thread + half]);
            if (better(other, best)) {
                best = other;
                magnitudes[thread] = best.magnitude;
                numbers_of_rows[thread] = best.row;
            }
        }
    }
    workgroupBarrier();
    return Pivot(magnitudes[0], numbers_of_rows[0]);
}
