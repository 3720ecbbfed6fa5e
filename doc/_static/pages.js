document.addEventListener("DOMContentLoaded", () => {
  // A figure of an example opens at its full size.
  for (const picture of document.querySelectorAll("img.sphx-glr-single-img, img.sphx-glr-multi-img")) {
    const link = document.createElement("a");
    link.href = picture.src;
    link.title = "Open at full size";
    picture.replaceWith(link);
    link.append(picture);
  }
  // Long names may break after a point, a bracket, a sign of equality or an underscore, and before a
  // capital letter, as set in skvae.css.
  for (const word of document.querySelectorAll("code.literal span.pre")) {
    const parts = word.textContent.split(/(?<=[=,]|\((?!\))|\.(?=[A-Za-z]))|(?<=[a-z])(?=[A-Z])|(?<=[a-z]_)(?=[a-z])/);
    word.replaceChildren(...parts.flatMap((part) => [part, document.createElement("wbr")]).slice(0, -1));
  }
});
