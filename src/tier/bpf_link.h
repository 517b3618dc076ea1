/* bpf_link.h - a program at one side of an interface (tcx, Linux 6.6); many, made ahead of time */
#ifndef APPTAP_TIER_BPF_LINK_H
#define APPTAP_TIER_BPF_LINK_H

#include <stddef.h>
#include <stdint.h>

enum apptap_bpf_side { APPTAP_BPF_INGRESS, APPTAP_BPF_EGRESS };

struct apptap_bpf_place {
	int32_t ifindex;
	enum apptap_bpf_side side;
};

/* The kernel's number of that kind of place: enum bpf_attach_type. */
int apptap_bpf_link_type(enum apptap_bpf_side side);

/* First in the row. Return: a descriptor, -errno. */
int apptap_bpf_link(int program, const struct apptap_bpf_place *place);

/* A program that lets the next in the row have its say, and that is all. Return: as above. */
int apptap_bpf_link_nothing(void);

/*
 * Makes *@link, of @program, the first again. No packet meets it twice: for some microseconds none
 * does. @nothing: two programs that do nothing, for a row takes none twice.
 */
int apptap_bpf_link_move(int *link, int program, const int nothing[2],
			 const struct apptap_bpf_place *place);

struct apptap_bpf_ahead;

/* Begins to make links of @nothing at @places, which it copies; the program is borrowed. NULL: it
 * cannot; nothing is lost but time. */
struct apptap_bpf_ahead *apptap_bpf_ahead_start(const struct apptap_bpf_place *places, size_t count,
						int nothing);

/* The one at @place, from now on with @program; waits while it is still to come. Return: the
 * caller's descriptor, -1: there is none. */
int apptap_bpf_ahead_take(struct apptap_bpf_ahead *a, const struct apptap_bpf_place *place,
			  int program);

/* Lets go of what nobody took; NULL is fine. */
void apptap_bpf_ahead_end(struct apptap_bpf_ahead *a);

#endif
