/*
 * btf.c - where this kernel keeps the fields of its structs (BTF, /sys/kernel/btf/vmlinux)
 *
 * How it works. The file is a row of types, each of a length that its kind tells, and their names.
 * One pass notes where each is. libbpf could do the same (CO-RE), more slowly, and
 * a capture is to be ready at once.
 */
#include "tier/btf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FILE_MAX ((size_t)64 << 20)
#define TYPES_MAX (4U << 20)
#define DEPTH_MAX 8
#define KIND_DECL_TAG 17 /* of newer headers than some that we are built against */
#define KIND_TYPE_TAG 18
#define KIND_ENUM64 19

struct apptap_btf {
	uint8_t *data; /* owned */
	size_t mapped; /* data is a mapping of so many bytes; 0: allocated */
	const uint8_t *types;
	const char *strings;
	size_t strings_len;
	uint32_t *at; /* owned: of type i + 1, from types on */
	uint32_t count;
	uint32_t *latest; /* owned: the struct that was asked for last; 0: none was */
};

/* What follows a type's head. -1: not known. */
static int64_t tail_bytes(const struct btf_type *t)
{
	int64_t n = BTF_INFO_VLEN(t->info);

	switch (BTF_INFO_KIND(t->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case KIND_DECL_TAG:
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return n * (int64_t)sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return n * (int64_t)sizeof(struct btf_enum);
	case BTF_KIND_FUNC_PROTO:
		return n * (int64_t)sizeof(struct btf_param);
	case BTF_KIND_DATASEC:
	case KIND_ENUM64:
		return n * 12;
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
	case KIND_TYPE_TAG:
		return 0;
	default:
		return -1;
	}
}

static int index_types(struct apptap_btf *b, struct apptap_view v)
{
	size_t room = v.left / sizeof(struct btf_type) + 1;

	if (room > TYPES_MAX)
		return -EINVAL;
	b->types = v.p;
	b->at = malloc(room * sizeof(*b->at));
	if (!b->at)
		return -ENOMEM;
	while (v.left) {
		const struct btf_type *t = apptap_view_take(&v, sizeof(*t));
		int64_t tail = t ? tail_bytes(t) : -1;

		if (tail < 0 || !apptap_view_take(&v, (size_t)tail))
			return -EINVAL;
		b->at[b->count++] = (uint32_t)((const uint8_t *)t - b->types);
	}
	return 0;
}

static int parse(struct apptap_btf *b, size_t size)
{
	const struct btf_header *h = (const void *)b->data;
	size_t left;

	if (size < sizeof(*h) || h->magic != BTF_MAGIC || h->hdr_len < sizeof(*h) ||
	    h->hdr_len > size)
		return -EINVAL;
	left = size - h->hdr_len;
	if (h->type_off > left || h->type_len > left - h->type_off || h->str_off > left ||
	    h->str_len > left - h->str_off || h->str_len == 0 || h->type_off % 4 || h->hdr_len % 4)
		return -EINVAL;
	b->strings = (const char *)b->data + h->hdr_len + h->str_off;
	b->strings_len = h->str_len;
	if (b->strings[b->strings_len - 1] != '\0')
		return -EINVAL;
	return index_types(b,
			   (struct apptap_view){ b->data + h->hdr_len + h->type_off, h->type_len });
}

static void let_go(uint8_t *data, size_t mapped)
{
	if (mapped)
		munmap(data, mapped);
	else
		free(data);
}

static int take(struct apptap_btf **out, uint8_t *data, size_t size, size_t mapped)
{
	struct apptap_btf *b = calloc(1, sizeof(*b));
	int r = -ENOMEM;

	if (!b) {
		let_go(data, mapped);
		return r;
	}
	b->data = data;
	b->mapped = mapped;
	b->latest = calloc(1, sizeof(*b->latest));
	if (b->latest)
		r = parse(b, size);
	if (r < 0) {
		apptap_btf_close(b);
		return r;
	}
	*out = b;
	return 0;
}

int apptap_btf_parse(struct apptap_btf **out, uint8_t *data, size_t size)
{
	return take(out, data, size, 0);
}

/* Linux 6.16 can map it, which takes no time; reading its 5 MB takes 5 to 10 ms. */
static int read_all(int fd, uint8_t **out, size_t *size, size_t *mapped)
{
	struct stat st;
	uint8_t *data = NULL;
	size_t len = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || (size_t)st.st_size > FILE_MAX)
		return -EFBIG;
	*size = (size_t)st.st_size;
	data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data != MAP_FAILED) {
		*out = data;
		*mapped = *size;
		return 0;
	}
	data = malloc((size_t)st.st_size);
	if (!data)
		return -ENOMEM;
	while (len < (size_t)st.st_size) {
		ssize_t n = read(fd, data + len, (size_t)st.st_size - len);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	*out = data;
	*size = len;
	return 0;
}

int apptap_btf_open(struct apptap_btf **out, struct apptap_error *err)
{
	auto_close int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
	uint8_t *data = NULL;
	size_t size = 0, mapped = 0;
	int r;

	if (fd < 0)
		return apptap_error_set(err, errno,
					"reading how this kernel's structs are laid out "
					"(/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF)");
	r = read_all(fd, &data, &size, &mapped);
	if (r == 0)
		r = take(out, data, size, mapped);
	return r < 0 ? apptap_error_set(err, -r, "reading /sys/kernel/btf/vmlinux") : 0;
}

void apptap_btf_close(struct apptap_btf *b)
{
	if (!b)
		return;
	free(b->at);
	free(b->latest);
	let_go(b->data, b->mapped);
	free(b);
}

static const struct btf_type *type_of(const struct apptap_btf *b, uint32_t id)
{
	return id == 0 || id > b->count ? NULL : (const void *)(b->types + b->at[id - 1]);
}

static bool is_named(const struct apptap_btf *b, uint32_t offset, const char *name, size_t len)
{
	if (offset >= b->strings_len || b->strings_len - offset <= len)
		return false;
	return memcmp(b->strings + offset, name, len) == 0 && b->strings[offset + len] == '\0';
}

static bool is_struct(const struct btf_type *t)
{
	return t && (BTF_INFO_KIND(t->info) == BTF_KIND_STRUCT ||
		     BTF_INFO_KIND(t->info) == BTF_KIND_UNION);
}

/* As deep as structs are nested in each other: DEPTH_MAX at most. */
static int64_t find(const struct apptap_btf *b, /* NOLINT(misc-no-recursion) */
		    const struct btf_type *t, const char *field, unsigned depth)
{
	const struct btf_member *m = (const void *)(t + 1);
	size_t len = strcspn(field, ".");

	if (depth == DEPTH_MAX)
		return -ENOENT;
	for (uint32_t i = 0; i < BTF_INFO_VLEN(t->info); i++, m++) {
		bool packed = BTF_INFO_KFLAG(t->info);
		int64_t at = packed ? BTF_MEMBER_BIT_OFFSET(m->offset) : m->offset;
		const struct btf_type *inner = type_of(b, m->type);
		bool nameless = m->name_off == 0;
		int64_t r;

		if (!nameless && !is_named(b, m->name_off, field, len))
			continue;
		if (!nameless && field[len] == '\0')
			return at;
		if (!is_struct(inner))
			continue;
		r = find(b, inner, nameless ? field : field + len + 1, depth + 1);
		if (r >= 0)
			return at + r;
	}
	return -ENOENT;
}

uint32_t apptap_btf_struct(const struct apptap_btf *b, const char *name)
{
	size_t len = strlen(name);

	if (*b->latest && is_named(b, type_of(b, *b->latest)->name_off, name, len))
		return *b->latest;
	for (uint32_t id = 1; id <= b->count; id++) {
		const struct btf_type *t = type_of(b, id);

		/* Before the name: most types are not structs. */
		if (BTF_INFO_KIND(t->info) == BTF_KIND_STRUCT && BTF_INFO_VLEN(t->info) &&
		    is_named(b, t->name_off, name, len))
			return *b->latest = id;
	}
	return 0;
}

int64_t apptap_btf_field(const struct apptap_btf *b, const char *type, const char *field)
{
	uint32_t id = apptap_btf_struct(b, type);

	return id ? find(b, type_of(b, id), field, 0) : -ENOENT;
}

uint32_t apptap_btf_func(const struct apptap_btf *b, const char *name)
{
	size_t len = strlen(name);

	for (uint32_t id = 1; id <= b->count; id++) {
		const struct btf_type *t = type_of(b, id);

		if (BTF_INFO_KIND(t->info) == BTF_KIND_FUNC && is_named(b, t->name_off, name, len))
			return id;
	}
	return 0;
}
