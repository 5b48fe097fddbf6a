// Matrices that every invocation holds whole. All lanes of a subgroup store the same values.
alias Emulated = array<f32, T * T>;

var<workgroup> votes: array<u32, THREADS>;

// Whether any invocation of the workgroup says yes: more than a subgroup, and as good for a condition that only saves work.
fn any_lane(x: bool, thread: u32) -> bool {
    votes[thread] = u32(x);
    workgroupBarrier();
    var any = 0u;
    for (var i = 0u; i < THREADS; i++) {
        any |= votes[i];
    }
    workgroupBarrier();
    return any != 0u;
}

fn multiply_add(a: Emulated, b: Emulated, c: Emulated) -> Emulated {
    var x = a;
    var y = b;
    var sum = c;
    for (var i = 0u; i < T; i++) {
        for (var j = 0u; j < T; j++) {
            for (var n = 0u; n < T; n++) {
                sum[i * T + j] += x[i * T + n] * y[n * T + j];
            }
        }
    }
    return sum;
}

fn store_scores(m: Emulated, at: u32, stride: u32) {
    var x = m;
    for (var i = 0u; i < T; i++) {
        for (var j = 0u; j < T; j += WIDTH) {
            store_part(at + i * stride + j / WIDTH, &x, i * T + j);
        }
    }
}
