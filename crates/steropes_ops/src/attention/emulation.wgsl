// Matrices for devices without any: in workgroup memory, where the first lane of each subgroup does all the work, so that only
// what other lanes write and read needs barriers. A matrix is the number of its place among those of its subgroup.
alias Emulated = u32;

var<private> emulated_thread: u32;
var<workgroup> matrices: array<f32, THREADS / 32u * PLACES * T * T>;
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

// The elements that this invocation works on: all or none.
fn elements() -> u32 {
    return select(0u, T * T, emulated_thread % 32u == 0u);
}

fn first_element(m: Emulated) -> u32 {
    return (emulated_thread / 32u * PLACES + m) * T * T;
}

fn zeros(m: Emulated) -> Emulated {
    for (var e = 0u; e < elements(); e++) {
        matrices[first_element(m) + e] = 0.0;
    }
    return m;
}

fn multiply_add(a: Emulated, b: Emulated, c: Emulated) -> Emulated {
    for (var e = 0u; e < elements(); e++) {
        var sum = matrices[first_element(c) + e];
        for (var n = 0u; n < T; n++) {
            sum += matrices[first_element(a) + e / T * T + n] * matrices[first_element(b) + n * T + e % T];
        }
        matrices[first_element(c) + e] = sum;
    }
    return c;
}

fn store_scores(m: Emulated, at: u32, stride: u32) {
    for (var e = 0u; e < elements(); e++) {
        scores[at + e / T * stride + e % T] = matrices[first_element(m) + e];
    }
}
