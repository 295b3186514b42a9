/* The two loops over every byte of a table: where its fields end, and its grey values as text to bytes.
 *
 * Optional: without it numpy does the same in several passes (table/tokenizer.py, images/decoding.py). */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>

/* Whether the text is `count` numbers of up to three digits in 0..255 between spaces; they go to `pixels`. */
static int decode_text(const unsigned char *text, const unsigned char *end, unsigned char *pixels, Py_ssize_t count)
{
    const unsigned char *full = pixels + count;
    for (;;) {
        while (text < end && *text == ' ')
            text++;
        if (text == end)
            return pixels == full;
        unsigned value = (unsigned)*text++ - '0';
        if (value > 9 || pixels == full)
            return 0;
        for (int more = 0; text < end && *text != ' '; more++) {
            unsigned digit = (unsigned)*text++ - '0';
            if (digit > 9 || more == 2)
                return 0;
            value = 10 * value + digit;
        }
        if (value > 255)
            return 0;
        *pixels++ = (unsigned char)value;
    }
}

PyDoc_STRVAR(decode_doc,
"decode(buffer, starts, ends, pixels, out, /)\n--\n\n"
"Decode the texts ``buffer[starts[i]:ends[i]]`` of `pixels` numbers each into `out`, one after the other.\n\n"
"Returns how many texts, from the first on, are numbers of up to three digits in 0..255 between spaces.");

static PyObject *decode(PyObject *module, PyObject *arguments)
{
    Py_buffer buffer, starts, ends, out;
    Py_ssize_t pixels, done = 0;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*y*nw*", &buffer, &starts, &ends, &pixels, &out))
        return NULL;
    const int64_t *start = starts.buf, *end = ends.buf;
    const Py_ssize_t texts = starts.len / (Py_ssize_t)sizeof(int64_t);
    int inside = starts.len == ends.len && pixels > 0 && texts <= out.len / pixels;
    for (Py_ssize_t i = 0; inside && i < texts; i++)
        inside = 0 <= start[i] && start[i] <= end[i] && end[i] <= buffer.len;
    if (!inside) {
        PyErr_SetString(PyExc_ValueError, "the texts do not lie in the buffer, or their pixels not in `out`");
    } else {
        const unsigned char *text = buffer.buf;
        unsigned char *to = out.buf;
        Py_BEGIN_ALLOW_THREADS
        while (done < texts && decode_text(text + start[done], text + end[done], to + done * pixels, pixels))
            done++;
        Py_END_ALLOW_THREADS
        result = PyLong_FromSsize_t(done);
    }
    PyBuffer_Release(&out);
    PyBuffer_Release(&ends);
    PyBuffer_Release(&starts);
    PyBuffer_Release(&buffer);
    return result;
}

#define STRETCH 64

PyDoc_STRVAR(find_doc,
"find(buffer, wanted, found, /)\n--\n\n"
"Write the positions of all bytes that are one of the four in `wanted` to `found`, in order.\n\n"
"Returns how many there are; `found` holds as many as it has room for.");

static PyObject *find(PyObject *module, PyObject *arguments)
{
    Py_buffer buffer, wanted, found;
    Py_ssize_t count = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*w*", &buffer, &wanted, &found))
        return NULL;
    const int right = wanted.len == 4;
    if (right) {
        const unsigned char *text = buffer.buf, *four = wanted.buf;
        const unsigned char a = four[0], b = four[1], c = four[2], d = four[3];
        const Py_ssize_t length = buffer.len, room = found.len / (Py_ssize_t)sizeof(int64_t);
        int64_t *to = found.buf;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t begin = 0; begin < length; begin += STRETCH) {
            const unsigned char *part = text + begin;
            const int n = length - begin < STRETCH ? (int)(length - begin) : STRETCH;
            /* Most stretches have none; of a whole one compilers see that in a few instructions. */
            if (n == STRETCH) {
                unsigned char any = 0;
                for (int i = 0; i < STRETCH; i++)
                    any |= (part[i] == a) | (part[i] == b) | (part[i] == c) | (part[i] == d);
                if (!any)
                    continue;
            }
            for (int i = 0; i < n; i++) {
                if (part[i] == a || part[i] == b || part[i] == c || part[i] == d) {
                    if (count < room)
                        to[count] = begin + i;
                    count++;
                }
            }
        }
        Py_END_ALLOW_THREADS
    } else {
        PyErr_SetString(PyExc_ValueError, "`wanted` has to be four bytes");
    }
    PyBuffer_Release(&found);
    PyBuffer_Release(&wanted);
    PyBuffer_Release(&buffer);
    return right ? PyLong_FromSsize_t(count) : NULL;
}

static PyMethodDef methods[] = {
    {"decode", decode, METH_VARARGS, decode_doc}, {"find", find, METH_VARARGS, find_doc}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "compiled", .m_size = 0, .m_methods = methods};

PyMODINIT_FUNC PyInit_compiled(void)
{
    return PyModuleDef_Init(&definition);
}
