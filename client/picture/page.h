// The sources of the page that DrawHtml makes, from the files page*.{html,css,js}. Of this
// folder's sources only.
#ifndef ATTND_CLIENT_PICTURE_PAGE_H_
#define ATTND_CLIENT_PICTURE_PAGE_H_

namespace attnd::picture {

// Has "{{style}}", "{{data}}" and "{{script}}" in it, once each and in this order.
extern const char kPageHtml[];
extern const char kPageStyle[];
extern const char kPageScript[];

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_PAGE_H_
