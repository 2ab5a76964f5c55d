// The browser's part of a compiled simulation, behind the driver that all simulations have: it
// makes many cycles in one call, and keeps of them what the page wants to know.

namespace {

const size_t EVENTS = 4096;  // rows of events that are kept, until they are fetched
const size_t TRACE = 1024;   // cycles that the waveform goes back
const size_t WORDS = 64;     // of a row of the waveform, at most

struct watcher {
	recorder events;
	const std::vector<part_t> *happens = nullptr;
	uint64_t cycle = 0;
	uint64_t rows[EVENTS][8];
	size_t count = 0;
	uint64_t trace[TRACE][WORDS];
	char text[4096];  // names, on their way in
	int handles[WORDS];
} watched;

}  // namespace

GPTLOOM_API char *gptloom_text() { return watched.text; }
GPTLOOM_API int *gptloom_handles() { return watched.handles; }
GPTLOOM_API uint64_t *gptloom_events() { return watched.rows[0]; }
GPTLOOM_API uint64_t *gptloom_trace() { return watched.trace[0]; }
GPTLOOM_API size_t gptloom_event_count() { return watched.count; }

// Chooses what a row of events holds, behind the number of its cycle, and when there is one.
GPTLOOM_API void gptloom_watch(simulation *sim, int happens, size_t count) {
	watched.happens = sim->handles[happens];
	watched.events = recorder();
	for (size_t number = 0; number < count; number++)
		watched.events.add(*sim->handles[watched.handles[number]]);
}

// Counts cycles from here on.
GPTLOOM_API void gptloom_count(double cycle) { watched.cycle = uint64_t(cycle); }

// Makes clock edges, up to the one behind a cycle in which `until` (a handle, or -1) is high, and
// as many as there is room for events. The last cycles' recorded signals are in the trace, at their
// number modulo its length. Returns how many edges were made.
GPTLOOM_API uint32_t gptloom_advance(simulation *sim, uint32_t cycles, int until) {
	cxxrtl::observer apply;
	uint32_t made = 0;
	bool ends = false;
	for (watched.count = 0; made < cycles && !ends && watched.count < EVENTS; made++) {
		if (GPTLOOM_FEEDBACK)
			sim->settle();
		arm_edge(sim->top, 0);
		sim->top.eval();
		if (sim->is_high(*watched.happens)) {
			uint64_t *row = watched.rows[watched.count++];
			*row = watched.cycle;
			watched.events.sample(row + 1);
		}
		ends = until >= 0 && sim->is_high(*sim->handles[until]);
		// How soon a call ends is known only of its most edges: a short one keeps all.
		if (until >= 0 || cycles - made <= TRACE)
			sim->recorded.sample(watched.trace[watched.cycle % TRACE]);
		sim->top.commit(apply);
		sim->settled = false;
		watched.cycle++;
	}
	return made;
}
