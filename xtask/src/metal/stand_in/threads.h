// Runs the threads of a threadgroup on one thread of the CPU: each has a stack of its own and runs until it has to wait for
// others. The order of the threads turns around from one group to the next, so that a missing barrier shows; in the first group
// the last thread begins, as on no other device.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace stand_in {

constexpr unsigned SIMD = 32;
constexpr unsigned MOST_THREADS = 1024;
constexpr unsigned MOST_SIMDGROUPS = MOST_THREADS / SIMD;
constexpr size_t STACK = 256 << 10;
// The lane of a simdgroup that holds its matrices and does their arithmetic: one in the middle, so that lanes before it see
// a result too early and lanes behind it overwrite a factor too late if a barrier is missing.
constexpr unsigned MATRIX_LANE = 17;

struct Thread {
  void* stack;
  unsigned index, lane, simdgroup;
  unsigned exchanges;    // simdgroup functions so far
  unsigned long matrices; // matrix functions so far
  bool done;
};

// Threads that wait for each other at one line of the text.
struct Meeting {
  unsigned expected, count;
  int line;
  unsigned waiting[MOST_THREADS];
};

// What the program hands over for one launch; the same structure stands in backend.rs.
struct Launch {
  uint32_t groups[3];
  uint32_t threads[3];
  void* const* buffers;
  uint64_t limit;  // most steps
  uint64_t steps;  // steps done
  char message[256];
};

struct Machine {
  Launch* launch;
  void (*entry)();
  Thread threads[MOST_THREADS];
  Thread* current;
  unsigned count, finished;
  unsigned group[3];
  // The threads that can go on, as a ring.
  unsigned ready[MOST_THREADS], first, length;
  Meeting whole, simdgroups[MOST_SIMDGROUPS];
  // What the lanes of a simdgroup show each other, twice so that a fast lane does not overwrite what a slow one reads.
  alignas(16) unsigned char shown[MOST_SIMDGROUPS][2][SIMD][16];
  void* main_stack;
  char* stacks;
  int status;
};
static Machine machine;

// Saves the registers that a function must keep, and goes on where another stack was left.
extern "C" void stand_in_switch(void** save, void* load) __asm__("stand_in_switch");
#if defined(__x86_64__)
__asm__(R"(
.text
.globl stand_in_switch
stand_in_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
constexpr unsigned SAVED_WORDS = 6;
#elif defined(__aarch64__)
__asm__(R"(
.text
.globl stand_in_switch
stand_in_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
#else
#error "the stand-in runs on x86-64 and ARM64"
#endif

enum Status { FINISHED = 0, OVER_LIMIT = 1, BROKEN = 2 };

// Leaves the launch; the stacks of the threads are dropped.
[[noreturn]] static void stop(Status status) {
  machine.status = status;
  void* unused;
  stand_in_switch(&unused, machine.main_stack);
  __builtin_unreachable();
}

static void go_on_with_another(Thread* from) {
  Machine& m = machine;
  if (m.length == 0) {
    int line = m.whole.count ? m.whole.line : 0;
    for (auto& meeting : m.simdgroups)
      if (!line && meeting.count) line = meeting.line;
    snprintf(m.launch->message, sizeof m.launch->message,
             "threads wait at line %d of the Metal text for others that do not come there", line);
    stop(BROKEN);
  }
  m.current = &m.threads[m.ready[m.first]];
  m.first = (m.first + 1) % MOST_THREADS;
  m.length--;
  if (m.current != from) stand_in_switch(&from->stack, m.current->stack);
}

static void push_ready(unsigned thread) {
  machine.ready[(machine.first + machine.length++) % MOST_THREADS] = thread;
}

// All lanes of a simdgroup must have called as many matrix functions.
static void compare_matrix_calls(unsigned first, unsigned count) {
  for (unsigned i = first + 1; i < first + count; i++) {
    unsigned leader = i / SIMD * SIMD;
    if (machine.threads[i].matrices != machine.threads[leader].matrices) {
      snprintf(machine.launch->message, sizeof machine.launch->message,
               "only some lanes of a simdgroup call a matrix function");
      stop(BROKEN);
    }
  }
}

static void meet(Meeting& meeting, int line) {
  Thread* me = machine.current;
  if (meeting.count == 0) meeting.line = line;
  if (meeting.line != line) {
    snprintf(machine.launch->message, sizeof machine.launch->message,
             "threads wait for each other at different lines of the Metal text: %d and %d", meeting.line, line);
    stop(BROKEN);
  }
  if (meeting.count + 1 < meeting.expected) {
    meeting.waiting[meeting.count++] = me->index;
    go_on_with_another(me);
    return;
  }
  compare_matrix_calls(&meeting == &machine.whole ? 0 : me->simdgroup * SIMD, meeting.expected);
  for (unsigned i = 0; i < meeting.count; i++) push_ready(meeting.waiting[i]);
  meeting.count = 0;
}

static inline void meet_group(int line) { meet(machine.whole, line); }
static inline void meet_simdgroup(int line) { meet(machine.simdgroups[machine.current->simdgroup], line); }

// Shows `value` to the other lanes; lane `i` of what comes back is what lane `i` showed.
template <class T> static inline const unsigned char (*exchange(T value, int line))[16] {
  static_assert(sizeof(T) <= 16, "a simdgroup function takes scalars and vectors");
  Thread* me = machine.current;
  auto& place = machine.shown[me->simdgroup][me->exchanges++ & 1];
  memcpy(place[me->lane], &value, sizeof(T));
  meet_simdgroup(line);
  return place;
}
template <class T> static inline T shown_by(const unsigned char (*place)[16], unsigned lane) {
  T value;
  memcpy(&value, place[lane % SIMD], sizeof(T));
  return value;
}

// Stands in the condition of every loop: counts its rounds.
static inline bool step() {
  if (++machine.launch->steps > machine.launch->limit) stop(OVER_LIMIT);
  return true;
}

static void begin() {
  machine.entry();
  Thread* me = machine.current;
  me->done = true;
  if (++machine.finished == machine.count) {
    compare_matrix_calls(0, machine.count);
    stop(FINISHED);
  }
  go_on_with_another(me);
  __builtin_unreachable();
}

static void prepare(Thread& thread, unsigned index) {
  thread = {nullptr, index, index % SIMD, index / SIMD, 0, 0, false};
  // Stacks begin at different places of a page, else all would compete for the same lines of the cache.
  char* top = machine.stacks + STACK * (index + 1) - 64 - 64 * (index * 5 % 60);
  void** words = (void**)((uintptr_t)top & ~(uintptr_t)63);
#if defined(__x86_64__)
  *--words = nullptr;
  *--words = (void*)begin;
  for (unsigned i = 0; i < SAVED_WORDS; i++) *--words = nullptr;
#else
  words -= 20;
  memset(words, 0, 160);
  words[11] = (void*)begin;
#endif
  thread.stack = words;
}

static int run_group(unsigned x, unsigned y, unsigned z) {
  Machine& m = machine;
  m.group[0] = x, m.group[1] = y, m.group[2] = z;
  m.finished = m.first = m.length = 0;
  m.whole.expected = m.count, m.whole.count = 0;
  for (unsigned i = 0; i < MOST_SIMDGROUPS; i++) {
    unsigned lanes = m.count > i * SIMD ? m.count - i * SIMD : 0;
    m.simdgroups[i].expected = lanes < SIMD ? lanes : SIMD;
    m.simdgroups[i].count = 0;
  }
  bool backward = (x + y + z) % 2 == 0;
  for (unsigned i = 0; i < m.count; i++) {
    prepare(m.threads[i], i);
    push_ready(backward ? m.count - 1 - i : i);
  }
  m.current = &m.threads[m.ready[m.first]];
  m.first = (m.first + 1) % MOST_THREADS;
  m.length--;
  m.status = FINISHED;
  stand_in_switch(&m.main_stack, m.current->stack);
  return m.status;
}

// GPUs flush f32 numbers that are too small for full precision.
struct FlushSmallNumbers {
#if defined(__x86_64__)
  unsigned before = _mm_getcsr();
  FlushSmallNumbers() { _mm_setcsr(before | 0x8040); }
  ~FlushSmallNumbers() { _mm_setcsr(before); }
#else
  uint64_t before;
  FlushSmallNumbers() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" ::"r"(before | (1 << 24)));
  }
  ~FlushSmallNumbers() { __asm__ volatile("msr fpcr, %0" ::"r"(before)); }
#endif
};

// Runs all groups of a launch, from the last to the first: other devices begin with the first, and what a group writes into
// the place of the next is overwritten there. `poison` fills the threadgroup memory before each.
static int run(Launch* launch, void (*entry)(), void (*poison)()) {
  Machine& m = machine;
  m.launch = launch;
  m.entry = entry;
  m.count = launch->threads[0] * launch->threads[1] * launch->threads[2];
  if (!m.stacks) {
    void* p = mmap(nullptr, STACK * MOST_THREADS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || m.count > MOST_THREADS) {
      snprintf(launch->message, sizeof launch->message, "no room for %u threads", m.count);
      return BROKEN;
    }
    m.stacks = (char*)p;
  }
  FlushSmallNumbers flush;
  for (unsigned z = launch->groups[2]; z-- > 0;)
    for (unsigned y = launch->groups[1]; y-- > 0;)
      for (unsigned x = launch->groups[0]; x-- > 0;) {
        launch->steps += m.count;
        if (launch->steps > launch->limit) return OVER_LIMIT;
        poison();
        if (int status = run_group(x, y, z)) return status;
      }
  return FINISHED;
}

}  // namespace stand_in
