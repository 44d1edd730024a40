/* A delegate as libedgetpu is one, without a device: for what is compiled for the Edge TPU it computes what the model
 * "brightness" of make_models.py computes. What it shall do instead, the environment says:
 *
 *   TEST_DELEGATE=crash, hang or refuse: when it is loaded; fail: when it is given the graph; idle: takes no operation
 *   TEST_DELEGATE_LOADS=FILE: notes there each time that it is loaded, and refuses the second time
 *   TEST_DELEGATE_GONE=FILE: while there is such a file, it is as if the device had been pulled out
 *
 * The layouts are those of tensorflow/lite/core/c/common.h, as far as they are needed.
 */

#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, ERROR = 1 };

typedef struct { int size; int data[64]; } IntArray;

typedef struct {
  int type;
  void *data;
  IntArray *dims;
  struct { float scale; int32_t zero_point; } params;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  void *delegate;
  int buffer_handle;
  _Bool data_is_stale, is_variable;
  struct { int type; void *params; } quantization;
  void *sparsity;
  const IntArray *dims_signature;
} Tensor;

typedef struct { IntArray *inputs, *outputs; } Node; /* and more */

typedef struct Context Context;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *later_versions_have_more[8];
} Registration;

typedef struct Delegate {
  void *data;
  int (*prepare)(Context *, struct Delegate *);
  void *copy_from_buffer, *copy_to_buffer, *free_buffer;
  int64_t flags;
  void *builder;
} Delegate;

struct Context {
  size_t tensors_size;
  int (*execution_plan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  void *resize_tensor;
  void (*report)(Context *, const char *, ...);
  void *add_tensors;
  int (*node_and_registration)(Context *, int, Node **, Registration **);
  int (*replace)(Context *, Registration, const IntArray *, Delegate *);
};

static int is(const char *what) {
  const char *wanted = getenv("TEST_DELEGATE");
  return wanted && !strcmp(wanted, what);
}

static int is_gone(void) {
  const char *file = getenv("TEST_DELEGATE_GONE");
  return file && !access(file, F_OK);
}

static int is_second_load(void) {
  const char *name = getenv("TEST_DELEGATE_LOADS");
  FILE *file = name ? fopen(name, "a") : NULL;
  if (!file) return 0;
  fputc('x', file);
  long loads = ftell(file);
  fclose(file);
  return loads == 2;
}

static int prepare_node(Context *context, Node *node) {
  (void)context, (void)node;
  return OK;
}

static int invoke_node(Context *context, Node *node) {
  if (is_gone()) {
    context->report(context, "Failed to submit a request: device disconnected");
    return ERROR;
  }
  const Tensor *in = &context->tensors[node->inputs->data[0]], *out = &context->tensors[node->outputs->data[0]];
  double sum = 0;
  for (size_t at = 0; at < in->bytes; ++at) sum += ((int8_t *)in->data)[at] - in->params.zero_point;
  double p_real = 1 / (1 + exp(-12 * (sum / in->bytes * in->params.scale - 0.5)));
  double stored = round(p_real / out->params.scale) + out->params.zero_point;
  *(int8_t *)out->data = stored > 127 ? 127 : stored < -128 ? -128 : (int8_t)stored;
  return OK;
}

static int prepare(Context *context, Delegate *delegate) {
  if (is("fail")) {
    context->report(context, "this delegate takes no graphs");
    return ERROR;
  }
  IntArray *plan, taken = {0};
  if (is("idle") || context->execution_plan(context, &plan)) return OK;
  for (int at = 0; at < plan->size; ++at) {
    Node *node;
    Registration *registration;
    if (context->node_and_registration(context, plan->data[at], &node, &registration)) return ERROR;
    if (registration->custom_name && !strcmp(registration->custom_name, "edgetpu-custom-op"))
      taken.data[taken.size++] = plan->data[at];
  }
  Registration ours = {.prepare = prepare_node, .invoke = invoke_node, .custom_name = "test", .version = 1};
  return context->replace(context, ours, &taken, delegate);
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  (void)keys, (void)values, (void)count;
  if (is("crash")) raise(SIGSEGV);
  while (is("hang")) pause();
  if (is("refuse") || is_gone() || is_second_load()) {
    report("there is no such device");
    return NULL;
  }
  Delegate *made = calloc(1, sizeof *made);
  made->prepare = prepare;
  made->flags = 1; /* of dynamic tensors: else the runtime would look at the custom operation before it is replaced */
  return made;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }

const char *edgetpu_version(void) { return "RuntimeVersion(test)"; }
